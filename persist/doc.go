// Package persist is the contract of the store: one durable, ordered log per
// namespace, control records that are atomic with it, and a small keyed table
// for checkpoints.
//
// # Guarantees
//
// A batch is committed whole or not at all. When done is called without an
// error everything in the batch survives a kill and a power cut. Batches
// complete in the order they were given; offsets strictly grow within a
// namespace, in the order of the batch, whatever the retention class; gaps are
// legal. A message goes only with its segment (Retention.Drop), and what went is
// told (Retention.Missed). Nothing may assume
// dense offsets or one transaction over several namespaces' reads.
//
// # Ownership
//
// Messages given to Commit are shared from then on and immutable but for
// Offset and Time, which the store writes before done. Messages returned by
// Read belong to the caller, their slices included.
//
// # When slow
//
// Commit may block for as long as the disk does; only the committer calls it.
// Read copies a bounded chunk and holds no transaction afterwards.
//
// persisttest is the suite that every implementation passes.
package persist
