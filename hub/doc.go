// Package hub is the message plane: it commits, fans out, matches, keeps
// sessions, retained values and wills. It knows no protocol and no store
// implementation.
//
// # Guarantees
//
// The promises of Parley in the terms of this package, each with a test of its
// name once it holds (TestPromise…):
//
//  1. Order. A namespace has one log. Every stored message gets an offset;
//     offsets strictly grow, gaps are legal. Each subscription sees its stored
//     messages in offset order. Retained messages are marked. A publisher's own
//     messages keep their order towards each subscriber, acknowledged or not: a
//     transient message is emitted after everything its publisher submitted
//     before it; a subscriber that has not reached it drops it, counted. Holds.
//  2. State before packet. done of Publish runs after the sync; a will is
//     durable before done of Attach. Holds for what this version keeps: messages,
//     retained values, wills. Sessions and their filters end with the connection.
//  3. No silent loss. A subscriber that lags reads what it missed from the log;
//     only transient traffic is dropped, counted by reason. Holds while the
//     subscriber is connected; subscribers that survive their connection do not
//     exist yet.
//  4. Exactly once. Does not hold yet: no QoS 2, no idempotency keys.
//  5. Bounded. Queues are bounded in bytes and entries, the tail in memory in
//     bytes, publishes that wait are bounded per session and in total (Congested).
//     Holds.
//  6. One policy. Every Publish, Subscribe and will is decided by auth.Policy
//     inside the session. Holds.
//
// # Ownership
//
// A message given to Publish belongs to the hub and is shared by all receivers.
// A *Session is used by its handler's goroutine; what other goroutines touch is
// guarded by Session.mu or atomic.
//
// Lock order: namespace.mu, then index.mu or Session.mu, never two sessions.
//
// # When slow
//
// A slow disk: publishes wait in the committer's queue, their sessions turn
// Congested. A slow subscriber: its queue fills up, it is marked lagging and
// reads from the log when it has drained what is queued; transient messages are
// dropped meanwhile. A slow fan-out counts as waiting publishes, so it slows the
// publishers, never the disk.
package hub
