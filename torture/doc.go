// Package torture puts a broker under load with clients that misbehave, kills it
// at random moments, and proves by the history of what the clients saw that every
// promise was kept (torture/history).
//
// # How it works
//
// A world has publishers, durable and passing subscribers, and sessions with wills,
// each a goroutine with a random source of its own that comes from the seed, each
// over one of the protocols: MQTT 5 and 3.1.1, JSON and WAMP. They are cut, say
// goodbye, take themselves over, read slowly, acknowledge late, subscribe and
// unsubscribe while they lag. The clients are written for this package, by the
// specifications: they see the marks and offsets that libraries hide, and stop
// exactly where they are told to.
//
// Every few cycles everything becomes quiet: publishers get their answers,
// subscribers come back and read up to a last message on every topic, new ones look
// at the retained values. Then the history is judged and made shorter.
//
// # Goroutines
//
// One for each client, one reader for each connection, one that waits for the
// broker's process. Run waits for all of them.
package torture
