package wamp

import "testing"

func TestPublishReachesSubscriberAfterCommit(t *testing.T) {
	b := start(t, nil)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			b := b.with(t)
			a, s := b.session(protocol), b.session(protocol)
			s.send(`[32,1,{},"com.example.t"]`)
			sub := s.expect(`[33,1,*]`)[0]
			a.send(`[16,1,{"acknowledge":true},"com.example.t",[1,"x",{"k":[null,true]}],{"a":"b"}]`)
			pub := a.expect(`[17,1,*]`)[0]
			s.expect(`[36,` + sub + `,` + pub + `,{"_parley_offset":*,"_parley_via":"wamp"},[1,"x",{"k":[null,true]}],{"a":"b"}]`)
			a.send(`[16,2,{},"com.example.t"]`)
			s.expect(`[36,` + sub + `,*,{"_parley_via":"wamp"}]`)
			s.send(`[34,2,` + sub + `]`)
			s.expect(`[35,2]`)
		})
	}
}

func TestCallReachesCallee(t *testing.T) {
	b := start(t, nil)
	for _, from := range protocols {
		for _, to := range protocols {
			t.Run(from+" to "+to, func(t *testing.T) {
				b := b.with(t)
				a, s := b.session(from), b.session(to)
				s.send(`[64,1,{},"com.example.p"]`)
				reg := s.expect(`[65,1,*]`)[0]
				a.send(`[48,1,{},"com.example.p",[9007199254740993],{"a":"b"}]`)
				inv := s.expect(`[68,*,` + reg + `,{},[9007199254740993],{"a":"b"}]`)[0]
				s.send(`[70,` + inv + `,{},["\u0000AAEC"]]`)
				a.expect(`[50,1,{},["\u0000AAEC"]]`)
				a.send(`[48,2,{},"com.example.p"]`)
				inv = s.expect(`[68,*,` + reg + `,{}]`)[0]
				s.send(`[8,68,` + inv + `,{},"com.example.broken",["why"]]`)
				a.expect(`[8,48,2,{},"com.example.broken",["why"]]`)
				s.send(`[66,2,` + reg + `]`)
				s.expect(`[67,2]`)
			})
		}
	}
}
