package main

type curve struct{}
