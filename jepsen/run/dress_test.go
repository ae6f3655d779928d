package run

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftmq/client"
)

func TestAMessageHasTheTagKeyAndPropertyOfItsBody(t *testing.T) {
	for _, size := range []int{0, 40, 1000} {
		m := dressed("t", "17-482", size)
		require.GreaterOrEqual(t, len(m.Body), size)
		require.Equal(t, "17-482", valueOf(m))
		require.Equal(t, "17-482", decode(m.Body))
	}
	require.Equal(t, "17-482", valueOf(&client.Message{Body: encode("17-482", 40)}), "it was sent without")
}

func TestAMessageWithWhatAnotherHasIsNotThatOfASend(t *testing.T) {
	for what, change := range map[string]func(m *client.Message){
		"another's tag":      func(m *client.Message) { m.Tag = tagOf("17-483") },
		"no tag":             func(m *client.Message) { m.Tag = "" },
		"another's key":      func(m *client.Message) { m.Keys = []string{"17-483"} },
		"a key more":         func(m *client.Message) { m.Keys = append(m.Keys, "17-483") },
		"no key":             func(m *client.Message) { m.Keys = nil },
		"another's property": func(m *client.Message) { m.Properties = map[string]string{propOf: "17-483"} },
		"no property":        func(m *client.Message) { m.Properties = nil },
		"another's body":     func(m *client.Message) { m.Body = wornBody("17-492", 40) },
	} {
		m := dressed("t", "17-482", 40)
		change(m)
		require.True(t, strings.HasPrefix(valueOf(m), "!"), what)
	}
}
