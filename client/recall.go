package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"raftmq/remoting"
)

// ErrTooLate: the message that was to be taken back is due, and has come or comes.
var ErrTooLate = errors.New("client: too late")

// Recall takes back a message that waits for its time, by its receipt's Recall. Nil:
// it will not come. ErrTooLate: it is due. ErrInvalid: it is no such name, or, with ErrMessageNotFound, nothing
// waits under it. Asking again for the same is answered alike, also after its time, for as
// long as its partition retains what says so. ErrUncertain: that is trimmed, or it could
// not be asked whether the message was taken back.
func (c *Client) Recall(ctx context.Context, handle string) error {
	b, err := base64.URLEncoding.DecodeString(handle)
	parts := strings.Split(string(b), " ")
	if err != nil || len(parts) < 5 || parts[0] != "v1" {
		return fmt.Errorf("%w: %q names no message that waits", ErrInvalid, handle)
	}
	if _, err := c.routes.get(ctx, parts[1]); err != nil {
		return fmt.Errorf("recall: %w", err)
	}
	req := remoting.NewRequest(remoting.RecallMessage, nil)
	req.SetExt("topic", parts[1])
	req.SetExt("recallHandle", handle)
	req.SetExt("producerGroup", c.id)
	r, addr, err := c.askBroker(ctx, "recall", parts[2], req)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	case r.Code == remoting.OK:
		return nil
	case r.Code == remoting.SystemError && strings.Contains(r.Remark, "is due"):
		return fmt.Errorf("recall: %w: %s", ErrTooLate, r.Remark)
	case r.Code == remoting.SystemError: // it is forgotten, or the answer to a panic
		return fmt.Errorf("%w: %w", ErrUncertain, refusal("recall", parts[1], "", addr, r))
	case r.Code == remoting.QueryNotFound:
		return fmt.Errorf("recall: %w: %w: %s", ErrInvalid, ErrMessageNotFound, r.Remark)
	}
	return refusal("recall", parts[1], "", addr, r)
}
