package main

import (
	"maps"

	"github.com/spf13/cobra"

	"raftmq/client"
)

// retention is what a topic keeps, as flags; "": as it is, "default": as the nodes say.
type retention struct{ age, bytes string }

func (k *retention) flags(c *cobra.Command) {
	c.Flags().StringVar(&k.age, "retention", "", "keep messages for so long at least: a duration like 48h, forever, or default (the nodes' setting)")
	c.Flags().StringVar(&k.bytes, "retention-bytes", "", "keep so many bytes per partition at least, and not much more: a number, unlimited, or default")
}

func (k *retention) into(t *client.TopicConfig) {
	t.Attributes, t.Unset = maps.Clone(t.Attributes), nil
	for name, v := range map[string]string{"retention": k.age, "retention-bytes": k.bytes} {
		switch v {
		case "":
		case "default":
			t.Unset = append(t.Unset, name)
		default:
			if t.Attributes == nil {
				t.Attributes = make(map[string]string)
			}
			t.Attributes[name] = v
		}
	}
}
