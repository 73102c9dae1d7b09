// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

var tracer = otel.Tracer("github.com/sharding-system/shardinguser-operator/internal/controller")

// begin begins a span: one part of the road from the resource to its row. It costs nothing where no traces are sent.
func begin(ctx context.Context, name string, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	return tracer.Start(ctx, name, trace.WithAttributes(attributes...))
}

// end ends a span, which tells of the error, if there is one. No error of ours holds a secret.
func end(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// traced is the store with a span for each call.
type traced struct{ Accounts }

func (t traced) Observe(ctx context.Context, username string) (user.Observed, error) {
	ctx, span := begin(ctx, "observe")
	observed, err := t.Accounts.Observe(ctx, username)
	end(span, err)
	return observed, err
}

func (t traced) Apply(ctx context.Context, change user.Change) (user.Observed, error) {
	ctx, span := begin(ctx, "apply", attribute.String("verb", string(change.Verb)))
	observed, err := t.Accounts.Apply(ctx, change)
	end(span, err)
	return observed, err
}
