// Package bolt is the default persist.Store: one bbolt file, parley.db, in a
// directory of its own.
//
// # Layout
//
// All buckets lie at the top level, because every level of nesting costs a page
// in every commit. id is the namespace's number (4 bytes), class the retention
// class (one byte), numbers are big endian.
//
//	parley               format -> version; spaces, segments -> how many there are; unsynced
//	n name               info   -> id, epoch, checkpoint's positions, first offset, …
//	s id class base      segment: offset -> message record; the bucket's sequence is its last offset
//	x id                 class base -> index of a full segment (see index.go)
//	k id                 offset -> record of a message that Drop has kept
//	d id                 class base -> summary of a dropped segment
//	c id                 controls: seq -> control; the sequence is the last seq
//	t id                 the checkpoint table: key -> value
//
// Offsets over all classes and control numbers are given without gaps,
// everything is counted, and ids are random, so that whatever has vanished or
// moved is noticed. Every value carries a CRC-32C over key and value, because
// bbolt protects only its two meta pages.
//
// # Writing
//
// One transaction per Commit. It writes ascending keys only (but for
// checkpoints): the last leaf of a segment, the branches above it, the top
// level's leaf, a meta page. Room is made in the file before a transaction
// writes anything, so that a full disk is found while nothing has happened. The
// index of a segment is gathered in memory and written by the commit that begins
// the next segment: once in 16,384 messages.
//
// # Opening
//
// The file is read through once, its structure proved and its entries counted,
// before bbolt, which panics on damage, walks it (it has to: the free list is not
// stored). Nothing is written to a file that is refused.
package bolt
