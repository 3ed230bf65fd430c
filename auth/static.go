package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"parley/msg"
)

// StaticOptions are the options of NewStatic; the zero value is usable.
type StaticOptions struct {
	CacheFor  time.Duration    // how long a verified password is remembered; default 5 minutes, negative: not at all
	CacheSize int              // how many are remembered; default 10,000
	Now       func() time.Time // default time.Now
}

// Static authenticates against a file of users and tokens. It is safe for
// concurrent use.
//
// A user name with a password is looked up among the users. A token may come
// alone, or as the password of the user it belongs to.
type Static struct {
	path string
	opts StaticOptions
	now  atomic.Pointer[loaded]

	mu   sync.Mutex  // held while reloading
	seen os.FileInfo // of the last attempt to load, successful or not; nil = none
}

// loaded is one state of the file. The cache lives in it, so that a verification
// that began before a reload cannot be remembered after it.
type loaded struct {
	file  *File
	cache *passwordCache
}

// NewStatic loads the file; see LoadFile for errors.
func NewStatic(path string, o StaticOptions) (*Static, error) {
	if o.CacheFor == 0 {
		o.CacheFor = 5 * time.Minute
	}
	if o.CacheSize <= 0 {
		o.CacheSize = 10000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Static{path: path, opts: o}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload reads the file again. If it is broken the old state stays in force and
// the error says why. Verified passwords are forgotten; identities that were
// given out live on with their connections.
func (s *Static) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, _ := os.Stat(s.path) // before reading: a change in between is seen next time
	return s.load(info)
}

// ReloadIfChanged reloads if the file is another one, or has another size or
// modification time, than at the last attempt; so a broken file is reported
// once, not at every call. It costs one stat(2).
func (s *Static) ReloadIfChanged() (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(s.path)
	if err != nil {
		if s.seen == nil {
			return false, nil
		}
		s.seen = nil
		return true, fmt.Errorf("reload users: %w", err)
	}
	if s.seen != nil && os.SameFile(s.seen, info) && s.seen.Size() == info.Size() && s.seen.ModTime().Equal(info.ModTime()) {
		return false, nil
	}
	return true, s.load(info)
}

func (s *Static) load(info os.FileInfo) error {
	s.seen = info
	f, err := LoadFile(s.path)
	if err != nil {
		return err
	}
	s.now.Store(&loaded{file: f, cache: newPasswordCache(s.opts.CacheSize)})
	return nil
}

// File is the state in force.
func (s *Static) File() *File { return s.now.Load().file }

// Authenticate calls done before it returns. A password that is not remembered
// takes tens of milliseconds of CPU: call it on a pool (Chain).
func (s *Static) Authenticate(_ context.Context, c Credentials, done func(*Identity, error)) {
	id, err, decided := s.quick(&c)
	if !decided {
		id, err = s.password(&c)
	}
	done(id, err)
}

// quick decides what needs no slow hash: tokens, and passwords verified lately.
func (s *Static) quick(c *Credentials) (id *Identity, err error, decided bool) {
	l := s.now.Load()
	if name, ok := tokenName(c.Secret); ok {
		if t := l.file.tokens[name]; t != nil && sameToken(&t.sum, c.Secret) && (c.User == "" || c.User == t.id.User) {
			if !t.expires.IsZero() && !s.opts.Now().Before(t.expires) {
				return nil, fmt.Errorf("%w: token %q has expired", msg.ErrBadCredentials, name), true
			}
			return t.id, nil, true
		}
	}
	if c.User == "" {
		return nil, fmt.Errorf("%w: no such token", msg.ErrBadCredentials), true
	}
	known := l.cache.has(c, s.opts.Now()) // asked for unknown users too: it takes time
	if u := l.file.users[c.User]; u != nil && known {
		return u.id, nil, true
	}
	return nil, nil, false
}

// password verifies slowly. An unknown user is verified against a decoy, so that
// the time taken does not tell which users exist.
func (s *Static) password(c *Credentials) (*Identity, error) {
	l := s.now.Load()
	u := l.file.users[c.User]
	switch {
	case u != nil && u.hash.verify(c.Secret):
		if s.opts.CacheFor > 0 {
			l.cache.add(c, s.opts.Now().Add(s.opts.CacheFor))
		}
		return u.id, nil
	case u != nil:
		return nil, fmt.Errorf("%w: wrong password of user %q", msg.ErrBadCredentials, c.User)
	case l.file.decoy != nil:
		l.file.decoy.verify(c.Secret)
	}
	return nil, fmt.Errorf("%w: no user %q", msg.ErrBadCredentials, c.User)
}

// passwordCache remembers passwords that were verified lately. When a broker
// comes back ten thousand devices connect within seconds; at 30 ms a hash that
// would keep two cores busy for minutes and time out most of them again. What is
// kept is not the password but an HMAC under a key that only this process has;
// wrong passwords are never remembered, so guessing stays slow.
type passwordCache struct {
	key [32]byte
	max int

	mu   sync.Mutex
	till map[[sha256.Size]byte]time.Time
}

func newPasswordCache(size int) *passwordCache {
	c := &passwordCache{max: size, till: map[[sha256.Size]byte]time.Time{}}
	rand.Read(c.key[:]) // never fails (crypto/rand)
	return c
}

func (p *passwordCache) mac(c *Credentials) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, p.key[:])
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(c.User))) // so that user and secret cannot be shifted into each other
	h.Write(n[:])
	h.Write([]byte(c.User))
	h.Write([]byte(c.Secret))
	h.Sum(sum[:0])
	return sum
}

func (p *passwordCache) has(c *Credentials, now time.Time) bool {
	sum := p.mac(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	till, ok := p.till[sum]
	if ok && !now.Before(till) {
		delete(p.till, sum)
		ok = false
	}
	return ok
}

func (p *passwordCache) add(c *Credentials, till time.Time) {
	sum := p.mac(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.till) >= p.max {
		for k := range p.till { // any one: which does not matter much
			delete(p.till, k)
			break
		}
	}
	p.till[sum] = till
}
