package order

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

// journal collects what the parts of a test did. Each step waits for the one before, so it needs no lock.
type journal []string

func (j *journal) note(what string) { *j = append(*j, what) }

// part works until its context ends.
func (j *journal) part(name string) Part {
	started := make(chan struct{})
	return Part{
		Name: name,
		Run: func(ctx context.Context) error {
			j.note("start " + name)
			close(started)
			<-ctx.Done()
			j.note("stop " + name)
			return ctx.Err()
		},
		Ready: func(ctx context.Context) error {
			select {
			case <-started:
				j.note("ready " + name)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	}
}

func TestPartsStartInOrderAndStopInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		go func() { result <- Run(ctx, []Part{j.part("a"), j.part("b")}) }()
		synctest.Wait()
		cancel()
		if err := <-result; err != nil {
			t.Errorf("an ordered stop gave %v", err)
		}
		want := journal{"start a", "ready a", "start b", "ready b", "stop b", "stop a"}
		if !slices.Equal(j, want) {
			t.Errorf("got %q, want %q", j, want)
		}
	})
}

func TestFailureStopsTheOthersAndIsNamed(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		name string
		err  error
		want error
	}{
		{"an error", broken, broken},
		{"no error", nil, ErrReturned},
		{"somebody's cancellation", context.Canceled, context.Canceled},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				b := j.part("b")
				b.Run = func(context.Context) error { return test.err }
				err := Run(t.Context(), []Part{j.part("a"), b})
				var failure *Failure
				if !errors.As(err, &failure) || failure.Name != "b" || !errors.Is(err, test.want) {
					t.Errorf("got %v, want b: %v", err, test.want)
				}
				if !slices.Contains(j, "stop a") {
					t.Errorf("a was not stopped: %q", j)
				}
			})
		})
	}
}

func TestPartThatDoesNotGetReadyKeepsTheNextFromStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		a := j.part("a")
		a.Ready = func(context.Context) error { return errors.New("no space left on device") }
		err := Run(t.Context(), []Part{a, j.part("b")})
		if err == nil || err.Error() != "a: no space left on device" {
			t.Errorf("got %v", err)
		}
		if slices.Contains(j, "start b") {
			t.Errorf("b was started: %q", j)
		}
	})
}

func TestFailureWhileWaitingForReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		a := j.part("a")
		a.Run = func(context.Context) error { return errors.New("port taken") }
		a.Ready = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		err := Run(t.Context(), []Part{a, j.part("b")})
		if err == nil || err.Error() != "a: port taken" {
			t.Errorf("got %v", err)
		}
	})
}

func TestStopBeforeReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		a := j.part("a")
		a.Ready = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		go func() { result <- Run(ctx, []Part{a, j.part("b")}) }()
		synctest.Wait()
		cancel()
		if err := <-result; err != nil {
			t.Errorf("got %v", err)
		}
		if want := (journal{"start a", "stop a"}); !slices.Equal(j, want) {
			t.Errorf("got %q, want %q", j, want)
		}
	})
}
