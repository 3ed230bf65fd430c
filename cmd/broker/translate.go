package main

import (
	"slices"

	"parley/auth"
	"parley/config"
	"parley/hub"
	"parley/metrics"
	"parley/msg"
	"parley/subproto"
)

// namespacesOf and the following translate the configuration for the parts.
func namespacesOf(c *config.Config) *auth.Namespaces {
	n := &auth.Namespaces{Default: c.DefaultNamespace, Aliases: map[string]string{}}
	for _, space := range c.Namespaces {
		n.Names = append(n.Names, space.Name)
		for _, realm := range space.Realms {
			n.Aliases[realm] = space.Name
		}
	}
	return n
}

func namespaceMap(spaces []config.Namespace) map[string]string {
	m := map[string]string{}
	for _, n := range spaces {
		for _, where := range slices.Concat(n.Hosts, n.Paths) {
			m[where] = n.Name
		}
	}
	return m
}

func storeRules(topics []config.StoreTopic) []hub.StoreRule {
	var rules []hub.StoreRule
	for _, t := range topics {
		storing := map[string]hub.Storing{"acknowledged": hub.StoreAcknowledged, "all": hub.StoreAll, "none": hub.StoreNone}[t.Store]
		rules = append(rules, hub.StoreRule{Filter: t.Filter, Store: storing})
	}
	return rules
}

func retentionRules(topics []config.StoreTopic) (rules []hub.RetentionRule) {
	for _, t := range topics {
		if t.Retention != (config.Retention{}) {
			rules = append(rules, hub.RetentionRule{Filter: t.Filter, Retention: retention(t.Retention)})
		}
	}
	return rules
}

func retention(r config.Retention) hub.Retention {
	return hub.Retention{Age: r.Age, Bytes: r.Bytes, Count: int64(r.Count)}
}

// guardedCaller puts the policy before every call that does not come over WAMP.
type guardedCaller struct {
	next   subproto.Caller
	policy auth.Policy
	denied metrics.Counter
}

func (g *guardedCaller) Call(c subproto.Call, done func(subproto.CallResult)) (cancel func()) {
	topic, err := msg.TopicOfURI(c.Procedure)
	if err == nil {
		if err = g.policy.Topic(c.Identity, c.Namespace, auth.Call, topic); err != nil {
			g.denied.Inc()
		}
	}
	if err != nil {
		done(subproto.CallResult{Err: err})
		return func() {}
	}
	return g.next.Call(c, done)
}
