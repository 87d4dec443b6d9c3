package main

import (
	"context"
	"errors"
	"fmt"
)

// component is one part of the control plane.
type component struct {
	name string
	// run works until ctx ends. Returning before that is a failure, with or without an error.
	run func(ctx context.Context) error
	// ready returns nil once the next component may start, or an error when ctx ends before that.
	ready func(ctx context.Context) error
}

// running is a started component: cancel stops it, ended is closed when it has stopped.
type running struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

var errReturned = errors.New("it ended by itself")

// runInOrder starts each component when the one before it is ready, and stops all in reverse order when ctx ends or
// one of them fails. The result is nil when ctx ended, else it names the component that failed.
func runInOrder(ctx context.Context, components []component) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var started []running
	for _, c := range components {
		started = append(started, start(c, fail))
		if err := c.ready(ctx); err != nil && ctx.Err() == nil {
			fail(fmt.Errorf("%s: %w", c.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	<-ctx.Done()
	for i := len(started) - 1; i >= 0; i-- {
		started[i].cancel()
		<-started[i].ended
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// start runs a component under a context of its own, so that a stop can reach the components one after the other.
func start(c component, fail context.CancelCauseFunc) running {
	ctx, cancel := context.WithCancel(context.Background())
	r := running{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		err := c.run(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errReturned
		}
		fail(fmt.Errorf("%s: %w", c.name, err))
	}()
	return r
}
