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
//  2. State before packet. What depends on state is answered after that is
//     committed: done of Publish, of Attach (a will, a durable session), Subscribe,
//     Unsubscribe, Assign, Received and Release of a durable session. Positions and
//     acknowledgements follow with the checkpoint, at most a second later. Holds.
//  3. No silent loss. A subscriber that lags, or comes back to its durable session,
//     reads what it missed from the log, also after a crash of the broker; what
//     retention had to cut it is told (NoticeGap). Only transient traffic is dropped,
//     counted by reason. Holds.
//  4. Exactly once. QoS 2 in both directions, over any number of connections of a
//     session and crashes (PublishOnce, Assign, Received, Release), and publishes
//     with an idempotency key within its window. Holds.
//  5. Bounded. Queues are bounded in bytes and entries, the tail in memory in
//     bytes, publishes that wait are bounded per session and in total (Congested).
//     Holds.
//  6. One policy. Every Publish, Subscribe and will is decided by auth.Policy
//     inside the session. Holds.
//
// # Ownership
//
// A message given to Publish belongs to the hub and is shared by all receivers.
// A Session is the subscriber; a hold is one connection's grip on it, and what
// engines know as subproto.Session. A hold is used by its handler's goroutine;
// what other goroutines touch is guarded by Session.mu or atomic.
//
// Lock order: namespace.mu, then Session.mu, then groups.mu, group.mu or index.mu;
// never two sessions.
//
// # When slow
//
// A slow disk: publishes wait in the committer's queue, their sessions turn
// Congested. A slow subscriber: its queue fills up, it is marked lagging and
// reads from the log when it has drained what is queued; transient messages are
// dropped meanwhile. A subscriber without a connection is one that lags. A shared
// group whose members are all slow or away lags in the same way. A slow fan-out
// counts as waiting publishes, so it slows the publishers, never the disk.
package hub
