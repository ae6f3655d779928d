package mutant

// Mutant is one seeded bug and what must find it.
type Mutant struct {
	Name     string
	Bug      string // in words
	File     string // of the source tree
	Old, New string // Old is there exactly once
	Workload string // that brings it out; empty: log
	Nemesis  string
	Backend  string // that it needs; empty: any
	Property string // by its id in package check, that must not be valid
	Longer   int    // how many times the usual time its runs take; 0: once
	Faster   int    // how many times the usual rate its runs have; 0: once
	Unknown  bool   // the property is to be unknown, not invalid: a bug of the suite itself, or one that shows as a fault without its effect
	Says     string // with Unknown: what the property must say of it, since there are other reasons not to know
}

// All are the mutants, in the order of the scoreboard.
var All = []Mutant{
	{
		Name: "duplicate-stored", Bug: "a send that is tried again is stored again", Nemesis: "kill", Property: "P6",
		File: "fsm/dedup.go", Old: "if s, first := w.seen(p, n); s != Stored {", New: "if s, first := w.seen(p, n); s != Stored && s != Duplicate {",
	},
	{
		Name: "duplicate-elsewhere", Bug: "a send that is tried again gets the receipt of the place behind it", Nemesis: "kill", Property: "P1",
		File: "fsm/dedup.go", Old: "return Duplicate, w.runs[i].off + message.Offset(p.Sequence-w.runs[i].seq)", New: "return Duplicate, w.runs[i].off + message.Offset(p.Sequence-w.runs[i].seq) + 1",
	},
	{
		Name: "own-clock", Bug: "each replica stamps records by its own clock", Nemesis: "kill", Property: "P16",
		File: "fsm/records.go", Old: "first, err := m.store.Append(e, m.now, stored)", New: "first, err := m.store.Append(e, m.now+time.Now().UnixMicro()%1000, stored)",
	},
	{
		Name: "unknown-is-no", Bug: "a send whose outcome is not known is called certainly not stored", Nemesis: "kill", Property: "P2",
		File: "client/outcome.go", Old: `fail(batch, fmt.Errorf("%w: %w", ErrUncertain, err))`, New: "fail(batch, err)",
	},
	{
		Name: "pull-skips", Bug: "after a pull of several messages a consumer is sent on too far", Nemesis: "kill", Property: "P7",
		File: "broker/pull.go", Old: "remoting.PullReply{NextBeginOffset: int64(batch.Next), ", New: "remoting.PullReply{NextBeginOffset: int64(batch.Next) + int64(batch.Count/2), ",
	},
	{
		Name: "batch-torn", Bug: "the last message of a batch does not leave", Nemesis: "kill", Property: "P15",
		File: "client/verdict.go", Old: "for _, m := range u.msgs {\n			body =", New: "for _, m := range u.msgs[:max(1, len(u.msgs)-1)] {\n			body =",
	},
	{
		Name: "commits-ahead", Bug: "a consumer commits what it holds, not what it has handled", Nemesis: "kill", Property: "P9",
		File: "client/claim.go", Old: "if len(cl.held) > 0 {\n		return cl.held[0].d.Offset", New: "if false {\n		return cl.held[0].d.Offset",
	},
	{
		Name: "batch-receipts", Bug: "all messages of a batch get the receipt of the first", Workload: "batch", Nemesis: "kill", Property: "P3",
		File: "client/outcome.go", Old: "			at++\n", New: "			at += 0\n",
	},
	{
		Name: "batch-properties", Bug: "all messages of a batch get the properties of the first", Workload: "batch", Nemesis: "kill", Property: "P2",
		File: "broker/produce.go", Old: "m.Flag, m.Body, m.Properties = x.Flag, x.Body, x.Properties", New: "m.Flag, m.Body, m.Properties = x.Flag, x.Body, all[0].Properties",
	},
	{
		Name: "read-loses-last", Bug: "a read of many messages leaves the last one out", Nemesis: "kill", Property: "P4",
		File: "store/read.go", Old: "s.records(segments, nil, places, nil)", New: "s.records(segments, nil, places[:len(places)-len(places)/24], nil)",
	},
	{
		Name: "receipt-ahead", Bug: "a receipt names a place further on, the more messages went together", Nemesis: "kill", Property: "P5",
		File: "client/outcome.go", Old: "at := h.QueueOffset", New: "at := h.QueueOffset + int64(8*len(batch[0].msgs))",
	},
	{
		Name: "resend-elsewhere", Bug: "a send that comes again through another node gets the receipt of the place behind it", Workload: "idempotent", Nemesis: "kill", Property: "P6b",
		File: "fsm/dedup.go", Old: "return Duplicate, w.runs[i].off + message.Offset(p.Sequence-w.runs[i].seq)", New: "return Duplicate, w.runs[i].off + message.Offset(p.Sequence-w.runs[i].seq) + 1",
	},
	{
		Name: "commit-unwaited", Bug: "a commit is answered before it is one", Workload: "offsets", Nemesis: "kill", Property: "P8",
		File: "broker/offsets.go", Old: "err != nil || !wait {", New: "err != nil || wait || !wait {",
	},
	{
		Name: "commit-lowers", Bug: "a commit also lowers a group's offset", Workload: "offsets", Nemesis: "kill", Property: "P8",
		File: "fsm/offsets.go", Old: "case there && o.Offset <= old.offset:", New: "case there && o.Offset == old.offset:",
	},
	{
		Name: "reset-to-end", Bug: "an operator's move of a group goes to the queue's end, wherever it was to go", Workload: "offsets", Nemesis: "kill", Property: "P8r",
		File: "fsm/offsets.go", Old: "off = min(max(off, 0), end)", New: "off = max(off, end)",
	},
	{
		Name: "no-fence", Bug: "who does not hold a queue's lock may commit there", Workload: "ordered", Nemesis: "kill", Property: "P11",
		File: "fsm/locks.go", Old: "return !there || l.expires <= now || l.client == owner", New: "return true",
	},
	{
		Name: "refused-and-counted", Bug: "a commit of who does not hold a queue's lock is refused, and counts", Workload: "ordered", Nemesis: "kill", Property: "P8",
		File: "fsm/offsets.go", Old: "		return NotOwner\n	case old.reset:", New: "		if o.Offset > old.offset && o.Offset <= end {\n			m.offsets.put(k, groupOffset{offset: o.Offset})\n		}\n		return NotOwner\n	case old.reset:",
	},
	{
		Name: "lock-taken-away", Bug: "a queue that is locked is given to whoever asks", Workload: "ordered", Nemesis: "kill", Property: "P11",
		File: "fsm/locks.go", Old: "case there && l.expires > now:\n		return 0, false", New: "case there && l.expires > now+1<<40:\n		return 0, false",
	},
	{
		Name: "unlock-by-anyone", Bug: "a queue is given back by who does not hold it", Workload: "ordered", Nemesis: "kill", Property: "P11",
		File: "fsm/locks.go", Old: "ok && r.err == nil && l.client == client {", New: "ok && r.err == nil && client != \"\" {",
	},
	{
		Name: "unheard-of", Bug: "a node says that a topic does not exist without asking the catalogue's leader", Workload: "topics", Nemesis: "isolate", Longer: 4, Property: "P14",
		File: "broker/catalogue.go", Old: "return b.catalogue.replica.CatchUp(ctx)", New: "return ctx.Err()",
	},
	{
		Name: "unheard-change", Bug: "a node answers a change of a topic before it knows of it", Workload: "topics", Nemesis: "isolate,kill", Property: "P14",
		File: "broker/change.go", Old: "err := b.hear(ctx, max(freshWait, forwardWait-time.Since(begun))); err != nil", New: "err := error(nil); err != nil && begun.IsZero()",
	},
	{
		Name: "old-end", Bug: "a leader tells a queue's end without asking whether it still leads", Workload: "fresh", Nemesis: "isolate-leader", Property: "P17",
		File: "broker/forward.go", Old: "if err := p.replica.ReadIndex(ctx); err != nil {", New: "if err := ctx.Err(); err != nil {",
	},
	{
		Name: "old-pull", Bug: "a leader says that there is nothing to pull without asking whether it still leads", Workload: "fresh", Nemesis: "isolate-leader", Property: "P17",
		File: "broker/pull.go", Old: "case wait == 0 && !waits && !checked:", New: "case wait == 0 && !waits && !checked && ctx.Err() != nil:",
	},
	{
		Name: "minimum-goes-back", Bug: "the first offset that is told is at times one too low", Workload: "retention", Nemesis: "kill", Property: "P19",
		File: "broker/offsets.go", Old: "case remoting.GetMinOffset:\n\t\t\treturn r.ReplyWith(remoting.OffsetReply{Offset: int64(lo)}",
		New: "case remoting.GetMinOffset:\n\t\t\treturn r.ReplyWith(remoting.OffsetReply{Offset: max(0, int64(lo)-b.now().UnixMilli()%2)}",
	},
	{
		Name: "exit-on-loss", Bug: "a node ends when it loses its leadership while entries are under way", Nemesis: "pause-leader", Longer: 4, Faster: 8, Property: "P20", // an entry must be under way when its leader stops
		File: "broker/batch.go", Old: "case err != nil:\n			answerAll(items, err)", New: "case err != nil && []bool{}[0]:\n			answerAll(items, err)",
	},
	{
		Name: "rollback-commits", Bug: "a transaction that is rolled back is committed", Workload: "transactions", Nemesis: "kill", Property: "P10",
		File: "client/transaction.go", Old: "return remoting.TransactionRollback", New: "return remoting.TransactionCommit",
	},
	{
		Name: "commit-again", Bug: "a commit that is repeated stores the message again", Workload: "transactions", Nemesis: "answer-kill,kill", Property: "P10",
		File: "fsm/transactions_state.go", Old: "	h := s.byPos[pos]\n	s.unlink(h)\n", New: "	h := s.byPos[pos]\n	if h.next = math.MaxInt64; made.Verdict == Commit {\n		return made\n	}\n	s.unlink(h)\n",
	},
	{
		Name: "commit-after-rollback", Bug: "a commit counts also after a rollback", Workload: "transactions", Nemesis: "kill", Property: "P10",
		File: "fsm/transactions_state.go", Old: "	h := s.byPos[pos]\n	s.unlink(h)\n", New: "	h := s.byPos[pos]\n	if h.next = math.MaxInt64; made.Verdict == Rollback {\n		return made\n	}\n	s.unlink(h)\n",
	},
	{
		Name: "rollback-in-memory", Bug: "a rollback is answered when its leader has it in memory, and written 1 s later", Workload: "transactions", Nemesis: "kill,answer-kill", Property: "P10",
		File: "broker/transactions.go", Old: "func (b *Broker) decideHalf(ctx context.Context, p *partition, half fsm.HalfInfo, d fsm.Decide) (fsm.DecideResult, error) {\n	var none fsm.DecideResult\n",
		New: "var rolledBack sync.Map\n\nfunc (b *Broker) decideHalf(ctx context.Context, p *partition, half fsm.HalfInfo, d fsm.Decide) (fsm.DecideResult, error) {\n	var none fsm.DecideResult\n	made := fsm.Decision{Verdict: fsm.Rollback, By: d.By, Queue: -1}\n	key := fmt.Sprint(p.desc.ID, half.Position)\n	if _, is := rolledBack.Load(key); is && d.Verdict == fsm.Commit {\n		return fsm.DecideResult{Status: fsm.DecidedOtherwise, Decision: made}, nil\n	} else if !is && d.Verdict == fsm.Rollback {\n		rolledBack.Store(key, true)\n		time.AfterFunc(time.Second, func() { b.decideHalf(b.ctx, p, half, d) })\n		return fsm.DecideResult{Decision: made}, nil\n	}\n",
	},
	{
		Name: "nobody-asked", Bug: "producers are not asked about transactions that have no decision", Workload: "transactions", Nemesis: "kill", Property: "P10",
		File: "fsm/transactions.go", Old: "next: m.now + int64(h.CheckAfter)", New: "next: m.now + int64(h.CheckAfter)<<20",
	},
	{
		Name: "asked-at-once", Bug: "producers are asked about a transaction before its time", Workload: "transactions", Nemesis: "kill", Property: "P10",
		File: "fsm/transactions.go", Old: "next: m.now + int64(h.CheckAfter)", New: "next: m.now + int64(h.CheckAfter)>>20",
	},
	{
		Name: "answers-unheard", Bug: "what a producer answers when it is asked is passed over", Workload: "transactions", Nemesis: "kill", Property: "P10",
		File: "broker/transactions.go", Old: "if h.Decision == remoting.TransactionUnknown {", New: "if h.Decision == remoting.TransactionUnknown || h.FromCheck {",
	},
	{
		Name: "timer-early", Bug: "what waits comes 1 s before its time", Workload: "timers", Nemesis: "kill", Property: "P12",
		File: "broker/timers.go", Old: "dues, next, err := p.due(cursor, now)", New: "now += 1000\n		dues, next, err := p.due(cursor, now)",
	},
	{
		Name: "timer-lost", Bug: "of several that are due together only some come", Workload: "timers", Nemesis: "kill", Property: "P12",
		File: "broker/timers.go", Old: "fsm.EncodeFire(nil, now, cursor, dues)", New: "fsm.EncodeFire(nil, now, cursor, append(dues[:0:0], dues[len(dues)/2:]...))",
	},
	{
		Name: "timer-twice", Bug: "what has come counts as waiting still, now and then", Workload: "timers", Nemesis: "kill", Property: "P12",
		File: "fsm/timers.go", Old: "	m.timers.cursor = last\n	m.mu.Unlock()\n	m.store.ForgetTimers(last)", New: "	if e.Index%4 > 0 {\n		m.timers.cursor = last\n		defer m.store.ForgetTimers(last)\n	}\n	m.mu.Unlock()",
	},
	{
		Name: "recall-forgotten", Bug: "a recall is answered and takes nothing back", Workload: "timers", Nemesis: "kill", Property: "P12",
		File: "fsm/timers.go", Old: "		if ok {\n			ops = append(ops, store.TimerOp{DueMs: k.DueMs, ID: k.ID})", New: "		if ok && k.ID < 0 {\n			ops = append(ops, store.TimerOp{DueMs: k.DueMs, ID: k.ID})",
	},
	{
		Name: "put-back-unwaited", Bug: "that a message is put back is answered before it is", Workload: "retry", Nemesis: "kill", Property: "P13",
		File: "broker/retry.go", Old: "		res, err := b.putBackAt(ctx, p, item, queue)\n", New: "		res, err := fsm.Stored, error(nil)\n		time.AfterFunc(time.Second, func() { b.putBackAt(context.Background(), p, item, queue) })\n",
	},
	{
		Name: "put-back-twice", Bug: "a delivery that is put back again is stored again", Workload: "retry", Nemesis: "kill,storm", Property: "P13", Longer: 2,
		File: "fsm/putback.go", Old: "case m.putBacks.has(putBackDelivery{x.key, x.delivery}), p.due > m.now:", New: "case x.due < 0:",
	},
	{
		Name: "times-in-memory", Bug: "how often a message was given is counted in the node's memory", Workload: "retry", Nemesis: "kill", Property: "P13",
		File: "broker/retry.go", Old: "func (b *Broker) retried(rec message.Record, h *remoting.SendBackHeader, g fsm.Group, queue int32, host netip.AddrPort) (fsm.PutBack, error) {\n	m := rec.Message()\n",
		New: "var timesHere sync.Map\n\nfunc (b *Broker) retried(rec message.Record, h *remoting.SendBackHeader, g fsm.Group, queue int32, host netip.AddrPort) (fsm.PutBack, error) {\n	m := rec.Message()\n	key, _ := rec.Property(message.PropUniqueKey)\n	n, _ := timesHere.LoadOrStore(h.Group+key, new(atomic.Int32))\n	m.ReconsumeTimes = n.(*atomic.Int32).Add(1) - 1\n",
	},
	{
		Name: "one-try-more", Bug: "a message comes again once more than is set", Workload: "retry", Nemesis: "kill", Property: "P13",
		File: "broker/retry.go", Old: "if times >= limit || h.DelayLevel < 0 {", New: "if times > limit || h.DelayLevel < 0 {",
	},
	{
		Name: "put-back-by-nobody", Bug: "the bundled consumer goes on behind what failed without having it put back, now and then", Workload: "retry", Nemesis: "kill", Property: "P13",
		File: "client/retry.go", Old: "back := s.putBack(j, wait, err)", New: "back := error(nil)\n		if j.d.Offset%8 > 0 {\n			back = s.putBack(j, wait, err)\n		}",
	},
	{
		Name: "letter-twice", Bug: "a dead letter is taken out as often as that is asked", Workload: "retry", Nemesis: "kill", Property: "P13",
		File: "fsm/buried.go", Old: "case m.buried.covers(k, u.gap):\n			s = GoneBefore", New: "case m.buried.covers(k, u.gap) && u.to < 0:\n			s = GoneBefore",
	},
	{
		Name: "letter-lost", Bug: "a dead letter is taken out and not stored again, now and then", Workload: "retry", Nemesis: "kill", Property: "P13",
		File: "fsm/buried.go", Old: "case u.record:\n			stored", New: "case u.record && e.Index%4 > 0:\n			stored",
	},
	{
		Name: "answered-alone", Bug: "a leader takes a follower that does not answer for one that has the entries", Nemesis: "isolate-leader", Property: "P1",
		File: "raftlog/pipeline.go", Old: "		p.answered(a, answer, err)\n	}}", New: "		if err != nil {\n			answer.Term, answer.Success, answer.LastLog, err = args.Term, true, a.end.index, nil\n		}\n		p.answered(a, answer, err)\n	}}",
	},
	{
		Name: "votes-in-memory", Bug: "votes and terms are not written", Nemesis: "kill-all", Property: "terms",
		File: "raftlog/stable.go", Old: "	return g.submit(walAppendStable(nil, g.id, m), func(p walPos) {\n		g.stableLocked(m, p)", New: "	return g.submit(walAppendStable(nil, g.id, g.stable), func(p walPos) {\n		g.stableLocked(m, p)",
	},
	{
		Name: "leader-counts", Bug: "a leader counts offsets itself, as it knows the queue's end when a message comes", Nemesis: "kill", Property: "P1",
		File: "broker/produce.go", Old: "		res, err := p.append.append(ctx, item)\n", New: "		_, end := p.store().Bounds(item.Queue)\n		res, err := p.append.append(ctx, item)\n		if res.Status == fsm.Stored {\n			res.Offset = end\n		}\n",
	},
	{
		Name: "producers-forgotten", Bug: "a checkpoint does not have what is known of producers", Workload: "retention", Nemesis: "kill", Property: "P16",
		File: "fsm/state.go", Old: "	st.dedup.decode(r)\n", New: "	st.dedup.decode(r)\n	st.dedup = newDedup()\n",
	},
	{
		Name: "offsets-forgotten", Bug: "a checkpoint does not have the groups' offsets", Workload: "retention", Nemesis: "kill-all", Property: "P8",
		File: "fsm/state.go", Old: "	st.offsets.decode(r)\n", New: "	st.offsets.decode(r)\n	st.offsets = newOffsets()\n",
	},
	{
		Name: "below-window-stored", Bug: "what lies below what is remembered of a producer is stored again", Workload: "idempotent", Nemesis: "kill", Property: "P6",
		File: "fsm/dedup.go", Old: "	if p.Sequence < w.low {\n		return UnknownBelowWindow, 0", New: "	if p.Sequence < w.low {\n		return Stored, 0",
	},
	{
		Name: "first-leader-asks", Bug: "only a partition's first leader has producers asked", Workload: "transactions", Nemesis: "kill", Property: "P10",
		File: "broker/checkback.go", Old: "pending == parked || !p.leads() {", New: "pending == parked || !p.leads() || func() bool { term, _ := p.replica.Leads(); return term > 2 }() {",
	},
	{
		Name: "new-leader-waits", Bug: "a new leader delivers only what has come to wait since it leads", Workload: "timers", Nemesis: "kill", Property: "P12",
		File: "broker/timers.go", Old: "				p.timers.term = 0\n				continue\n			}\n			if p.timers.next = min(p.timers.next, added); p.timers.term == term && p.timers.next > now {",
		New: "				p.timers.term, p.timers.next = 0, never\n				continue\n			}\n			if p.timers.next = min(p.timers.next, added); p.timers.next > now {",
	},
	{
		Name: "unchecked", Bug: "records are served without a look at their checksum", Nemesis: "flip-live", Longer: 4, Property: "P2",
		File: "store/read.go", Old: "			rec := b[p.pos-start:][:p.size]\n			if crc32.Checksum(rec, castagnoli) != p.crc {", New: "			rec := b[p.pos-start:][:p.size]\n			if crc32.Checksum(rec, castagnoli) != p.crc && i < 0 {",
	},
	{
		Name: "unrepaired", Bug: "a replica in quarantine is never repaired", Nemesis: "flip", Property: "P20",
		File: "broker/repair.go", Old: "err := b.repair(desc, q)", New: "err := errors.New(\"nobody repairs\")",
	},
	{
		Name: "damage-is-the-end", Bug: "damage inside the write-ahead log is taken for its end", Nemesis: "damaged-minority", Property: "P1",
		File: "raftlog/wal_recover.go", Old: "ok && f.sequence > w.sequence {\n				at := s", New: "ok && f.sequence > w.sequence && p < 0 {\n				at := s",
	},
	{
		Name: "torn-is-damage", Bug: "a torn end of the write-ahead log keeps a node from starting", Nemesis: "torn", Longer: 2, Property: "P20",
		File: "raftlog/wal_recover.go", Old: "			if !ok || f.sequence != w.sequence {\n				break", New: "			if !ok && buf[s.end] != 0 {\n				return fmt.Errorf(\"%w: %s at %d\", ErrWALDamaged, s.name, s.end)\n			}\n			if !ok || f.sequence != w.sequence {\n				break",
	},
	{
		Name: "names-unsynced", Bug: "a checkpoint does not wait for the names of files that it needs", Nemesis: "power-all", Longer: 2, Property: "P16", // not in retention: checkpoints after a trim come with names that are synced
		File: "store/checkpoint.go", Old: "if err := s.disk.SyncDir(s.dir); err != nil {", New: "if err := s.failed(); err != nil {",
	},
	{
		Name: "trims-by-own-clock", Bug: "a leader goes by its own clock when it decides what is too old", Nemesis: "clock-jump", Longer: 4, Property: "P1",
		File: "broker/retention.go", Old: "b.retainRound(b.time(), at)", New: "b.retainRound(b.now(), at)",
	},
	{
		Name: "move-undone", Bug: "a commit undoes an operator's move of a group", Workload: "offsets", Nemesis: "kill", Property: "P8r",
		File: "fsm/offsets.go", Old: "	case old.reset:\n		return ResetPending", New: "	case old.reset && o.Offset <= old.offset:\n		return ResetPending",
	},
	{
		Name: "trims-too-much", Bug: "of a topic that keeps little all goes but the newest segment", Workload: "retention", Nemesis: "kill", Property: "P19",
		File: "broker/retention.go", Old: "if int64(end-g.Start) >= bytes {", New: "if end > g.Start {",
	},
	{
		Name: "below-untold", Bug: "who reads below a queue's first offset is told that there is nothing new, and not where that is", Workload: "retention", Nemesis: "kill", Property: "P19", Unknown: true, Says: "none was told where that is",
		File: "broker/pull.go", Old: "return r.emptyPull(remoting.PullOffsetMoved, int64(min(max(from, lo), hi)), int64(lo), int64(hi)), nil", New: "return r.emptyPull(remoting.PullNotFound, h.QueueOffset, int64(lo), int64(hi)), nil",
	},
	{
		Name: "letters-page-skips", Bug: "a list of dead letters goes on one too far in its next answer", Workload: "retry", Nemesis: "kill", Property: "P13",
		File: "broker/deadletters.go", Old: "			if n >= h.Max {\n				return &at, nil", New: "			if n >= h.Max {\n				at++\n				return &at, nil",
	},
	{
		Name: "letters-first-page", Bug: "a list of dead letters ends with its first answer", Workload: "retry", Nemesis: "kill", Property: "P13",
		File: "broker/deadletters.go", Old: "if next != nil && h.Op == remoting.ListLetters {", New: "if next != nil && h.Op == remoting.ListLetters && bytes > maxPullBytes {",
	},
	{
		Name: "differs-seldom", Bug: "a replica stamps records by its own clock now and then, and is copied whole when that is seen", Nemesis: "kill", Property: "P16",
		File: "fsm/records.go", Old: "first, err := m.store.Append(e, m.now, stored)", New: "first, err := m.store.Append(e, m.now+max(0, time.Now().UnixMicro()%300-298), stored)",
	},
	{
		Name: "damage-ends", Bug: "a node ends when a file of one of its replicas is damaged", Nemesis: "flip-live", Longer: 4, Property: "P20",
		File: "broker/quarantine.go", Old: "	if b.sick.admit(id, quarantine{Files: []string{filepath.Base(d.File)}, Reason: d.Error()}) {\n", New: "	if b.sick.admit(id, quarantine{Files: []string{filepath.Base(d.File)}, Reason: d.Error()}) {\n		b.fail(d)\n",
	},
	{
		Name: "new-leader-unread", Bug: "a new leader answers before it has applied what came before its term", Workload: "fresh", Nemesis: "move-leaders", Faster: 8, Property: "P17", // see RESULTS.md
		File: "raftlog/replica.go", Old: "	term = r.ready.Load()\n", New: "	term = r.raft.CurrentTerm()\n",
	},
	{
		Name: "leaders-stay", Bug: "a leader that is to hand over answers that another leads, and stays", Nemesis: "move-leaders", Property: "faults", Unknown: true, Says: "is not proved",
		File: "broker/moveleader.go", Old: "if h.Node == b.id.Node {", New: "if h.Node != \"\" {",
	},
	{
		Name: "idle-operators", Bug: "the suite takes no dead letter out", Workload: "retry", Nemesis: "kill", Property: "P13", Unknown: true, Says: "or taken out",
		File: "jepsen/run/retry.go", Old: "for sleep(ctx, lookEvery) {", New: "for sleep(ctx, lookEvery<<10) {",
	},
	{
		Name: "idle-reader", Bug: "the suite's reader reads a little and then nothing", Nemesis: "kill", Property: "P7", Unknown: true, Says: "less than half",
		File: "jepsen/run/reader.go", Old: "	for ctx.Err() == nil {\n", New: "	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)\n	defer cancel()\n	for ctx.Err() == nil {\n",
	},
	{
		Name: "unsynced", Bug: "the write-ahead log is written and not synced", Nemesis: "power-all", Property: "P1",
		File: "raftlog/committer.go", Old: "if err := s.file.WriteThrough(p.blocks()); err != nil {", New: "if _, err := s.file.WriteAt(p.blocks()); err != nil {",
	},
	{
		Name: "answered-unsynced", Bug: "the write-ahead log answers while a sync is under way", Nemesis: "power-all,torn-all,power-majority", Property: "P1", Backend: "simulated",
		File: "raftlog/committer.go", Old: "if err := s.file.WriteThrough(p.blocks()); err != nil {", New: "if err := func() error { _, err := s.file.WriteAt(p.blocks()); go s.file.SyncData(); return err }(); err != nil {",
	},
	{
		Name: "checkpoint-unsynced", Bug: "a checkpoint is kept while the commit log that it names is not durable", Nemesis: "power,power-all,power-majority,torn,kill-power", Property: "P20", Backend: "simulated",
		File: "raftlog/replica.go", Old: "at.checkpoint(state), sync)\n	if lacksRoom", New: "at.checkpoint(state), func() error { return nil })\n	_ = sync\n	if lacksRoom",
	},
	{
		Name: "sync-error-passed-over", Bug: "a sync of the write-ahead log that fails is taken for one that did not", Nemesis: "fsync-error", Property: "faults", Unknown: true, Says: "is not proved", // the node does not end
		File: "raftlog/committer.go", Old: "if err := s.file.WriteThrough(p.blocks()); err != nil {", New: "s.file.WriteThrough(p.blocks())\n	if err := w.Err(); err != nil {",
	},
	{
		Name: "idle-links", Bug: "the suite cuts nobody off", Nemesis: "isolate", Property: "faults", Unknown: true, Says: "is not proved",
		File: "jepsen/run/fault_network.go", Old: "	set(r)\n	h.detail", New: "	h.detail",
	},
	{
		Name: "idle-power", Bug: "the suite kills, and leaves what was not synced", Nemesis: "power", Property: "faults", Unknown: true, Says: "is not proved",
		File: "jepsen/run/fault_disk.go", Old: "chance := 0.0", New: "chance := 1.1",
	},
	{
		Name: "idle-nemesis", Bug: "the suite pauses nobody", Nemesis: "pause", Property: "faults", Unknown: true, Says: "is not proved",
		File: "jepsen/cluster/node.go", Old: "n.signal(syscall.SIGSTOP, true)", New: "n.signal(syscall.SIGCONT, true)",
	},
	{
		Name: "blind-dump", Bug: "the suite reads one replica twice, and another not at all", Nemesis: "kill", Property: "P1", Unknown: true, Says: "not read to the end",
		File: "jepsen/run/final.go", Old: "for _, n := range r.cluster.Nodes {\n		for _, t := range r.topics() {\n			r.dump(", New: "for _, n := range []*cluster.Node{r.cluster.Nodes[0], r.cluster.Nodes[0], r.cluster.Nodes[1]} {\n		for _, t := range r.topics() {\n			r.dump(",
	},
}
