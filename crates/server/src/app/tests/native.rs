//! Native sessions, seen by a client that believes every frame.

use std::collections::BTreeMap;

use super::*;
use tricedb_core::attr::Cardinality;
use tricedb_core::port::HeldFact;
use tricedb_core::query::{AllVisible, EvalOptions, Plan, QueryResult, parse};
use tricedb_core::triple::Triple;
use tricedb_protocol::native::{
    AckOutcome, Digest, FactDigest, NativeOffer, NativeSession, PartKind, ResumeOffer, SubId,
    SyncFrame, attrs_digest, set_digest,
};

/// A client that holds exactly what it is told.
#[derive(Default)]
struct Reader {
    session: Option<SessionKey>,
    client: u128,
    binary: bool,
    agreed: Option<NativeSession>,
    position: TxId,
    attrs: Vec<tricedb_core::attr::Attr>,
    queries: BTreeMap<SubId, Json>,
    facts: BTreeMap<SubId, BTreeMap<String, Triple>>,
    acks: BTreeMap<u64, AckOutcome>,
    kinds: Vec<PartKind>,
    frames: usize,
    bytes: usize,
    errors: usize,
}

impl Reader {
    fn new(client: u128, binary: bool) -> Self {
        Self { client, binary, ..Self::default() }
    }

    fn open(&mut self, app: &mut Harness) {
        let resume = self.agreed.as_ref().map(|agreed| ResumeOffer {
            epoch: agreed.epoch,
            position: self.position,
            set: self.set(),
            digest: self.digest(),
            attrs: attrs_digest(&self.attrs),
        });
        let native = NativeOffer {
            version: 1,
            client: Uuid::from_u128(self.client),
            binary: self.binary,
            zstd: true,
            resume,
        };
        let open = OpenSession {
            id: SessionId(Uuid::from_u128(self.client)),
            features: Features::of("1.0.67"),
            is_admin: false,
            event: None,
            native: Some(native),
        };
        self.session = Some(app.state.open_session(open, app.now).unwrap());
        app.settle();
        app.flush_all();
        self.read(app);
    }

    fn close(&mut self, app: &mut Harness) {
        if let Some(session) = self.session.take() {
            app.state.close_session(session);
            app.frames.remove(&session);
        }
    }

    fn canonical(&self) -> Vec<(u32, std::sync::Arc<str>)> {
        self.queries.iter().map(|(sub, q)| (sub.0, parse(q).unwrap().canonical())).collect()
    }

    fn set(&self) -> Digest {
        let subs = self.canonical();
        set_digest(subs.iter().map(|(sub, canonical)| (*sub, &**canonical)))
    }

    fn digest(&self) -> Digest {
        let each = self
            .facts
            .iter()
            .map(|(sub, facts)| (sub.0, facts.values().collect::<FactDigest>().digest()));
        each.fold(FactDigest::default(), |sum, (sub, facts)| sum.with(sub, facts)).digest()
    }

    fn subscribe(&mut self, app: &mut Harness, sub: u32, q: &Json) {
        self.queries.insert(SubId(sub), q.clone());
        app.send(self.session.unwrap(), &json!({"op": "subscribe", "sub": sub, "q": q}));
    }

    fn transact(&self, app: &mut Harness, seq: u64, steps: &Json) {
        let base = self.position;
        let message = json!({"op": "transact", "seq": seq, "base": base, "tx-steps": steps});
        app.send(self.session.unwrap(), &message);
    }

    /// Believes everything that waits.
    fn read(&mut self, app: &mut Harness) {
        let Some(session) = self.session else { return };
        for frame in app.take_frames(session) {
            self.bytes += frame.len();
            match frame.text() {
                Some(text) => match ServerMessage::decode(text).unwrap() {
                    ServerMessage::Sync(frame) => self.sync(app, frame),
                    ServerMessage::InitOk(init) => {
                        let agreed = init.native.unwrap();
                        if !agreed.attrs_same {
                            self.attrs = init.attrs;
                        }
                        if agreed.resumed {
                            assert_eq!(agreed.position, self.position);
                        } else {
                            self.position = agreed.position;
                            self.facts.clear();
                            self.queries.clear();
                        }
                        self.agreed = Some(agreed);
                    }
                    ServerMessage::Error(_) => self.errors += 1,
                    other => panic!("{other:?}"),
                },
                None => {
                    let Frame::Binary(bytes) = frame else { panic!() };
                    self.sync(app, SyncFrame::decode_binary(&bytes).unwrap());
                }
            }
        }
    }

    fn sync(&mut self, app: &Harness, frame: SyncFrame) {
        assert_eq!(frame.from, self.position, "frames follow each other");
        assert!(frame.to >= frame.from);
        self.position = frame.to;
        self.frames += 1;
        if let Some(attrs) = frame.attrs {
            self.attrs = attrs;
        }
        for ack in frame.acks {
            if let AckOutcome::Accepted(accepted) = &ack.outcome {
                assert!(accepted.tx <= self.position, "the frame that acknowledges shows");
            }
            self.acks.insert(ack.seq, ack.outcome);
        }
        for part in frame.parts {
            if !self.queries.contains_key(&part.sub) {
                continue;
            }
            self.kinds.push(part.body.kind);
            let facts = self.facts.entry(part.sub).or_default();
            if part.body.kind == PartKind::Reset {
                facts.clear();
            }
            for triple in part.body.put {
                facts.insert(key_of(app, &triple), triple);
            }
            for fact in part.body.gone.iter().chain(&part.body.forget) {
                assert!(facts.remove(&text_of(fact)).is_some(), "only what is held leaves");
            }
        }
    }

    /// Compares with evaluation from scratch.
    fn check(&self, app: &Harness) {
        let index = app.state.index();
        for (sub, q) in &self.queries {
            let plan = Plan::new(index, &parse(q).unwrap(), &EvalOptions::native()).unwrap();
            let result = QueryResult::run(&std::sync::Arc::new(plan), index, &AllVisible);
            let wanted: BTreeMap<String, Triple> =
                result.triples(index).into_iter().map(|t| (key_of(app, &t), t)).collect();
            let held = self.facts.get(sub).cloned().unwrap_or_default();
            let texts = |facts: &BTreeMap<String, Triple>| {
                let text = |t: &Triple| serde_json::to_string(t).unwrap();
                facts.values().map(text).collect::<Vec<_>>()
            };
            assert_eq!(texts(&held), texts(&wanted), "{q}");
        }
    }
}

fn text_of(fact: &HeldFact) -> String {
    format!("{} {} {:?}", fact.entity, fact.attr, fact.target)
}

fn key_of(app: &Harness, triple: &Triple) -> String {
    let attr = app.state.index().catalog().get(triple.attr).unwrap();
    let is_set = attr.is_ref() && attr.cardinality == Cardinality::Many;
    let target = if is_set { triple.value.as_entity() } else { None };
    text_of(&HeldFact { entity: triple.entity, attr: triple.attr, target })
}

fn attr(n: u32, etype: &str, label: &str) -> Json {
    json!(["add-attr", {"id": id(900 + n), "forward-identity": [id(800 + n), etype, label],
        "value-type": "blob", "cardinality": "one", "unique?": false, "index?": false}])
}

/// To-dos with `id`, `title` and `done`, and a link to their owner.
fn todos() -> Json {
    let link = json!(["add-attr", {"id": id(903), "forward-identity": [id(803), "todos", "owner"],
        "reverse-identity": [id(813), "users", "todos"],
        "value-type": "ref", "cardinality": "many", "unique?": false, "index?": false}]);
    json!([
        attr(0, "todos", "id"),
        attr(1, "todos", "title"),
        attr(2, "todos", "done"),
        attr(4, "users", "id"),
        attr(5, "users", "name"),
        link
    ])
}

fn create(n: u32, title: &str, done: bool) -> Json {
    json!([
        ["add-triple", id(n), id(900), id(n)],
        ["add-triple", id(n), id(901), title],
        ["add-triple", id(n), id(902), done]
    ])
}

fn app_with_todos() -> (Harness, SessionKey) {
    let mut app = Harness::logged();
    let writer = app.open();
    app.transact(writer, "attrs", &todos());
    app.flush_all();
    (app, writer)
}

#[test]
fn changes_come_as_changes_and_acks_with_them() {
    let (mut app, writer) = app_with_todos();
    let mut reader = Reader::new(7, true);
    reader.open(&mut app);
    reader.subscribe(&mut app, 3, &json!({"todos": {"$": {"where": {"done": false}}}}));
    reader.read(&mut app);
    assert_eq!(reader.kinds, [PartKind::Reset]);
    app.transact(writer, "a", &create(1, "one", false));
    app.transact(writer, "b", &create(2, "two", true));
    app.flush_all();
    reader.read(&mut app);
    reader.check(&app);
    assert_eq!(reader.facts[&SubId(3)].len(), 3);
    reader.transact(&mut app, 1, &json!([["add-triple", id(1), id(902), true]]));
    assert!(!app.frames.contains_key(&reader.session.unwrap()), "nothing leaves before the flush");
    app.flush_all();
    reader.read(&mut app);
    reader.check(&app);
    assert!(matches!(reader.acks[&1], AckOutcome::Accepted(_)));
    assert!(reader.facts[&SubId(3)].is_empty());
    assert_eq!(reader.kinds.iter().filter(|kind| **kind == PartKind::Reset).count(), 1);
}

#[test]
fn a_number_runs_once_whatever_its_outcome() {
    let (mut app, _) = app_with_todos();
    let mut reader = Reader::new(7, false);
    reader.open(&mut app);
    reader.read(&mut app);
    let push = json!([["update-triple", id(1), id(901), {"$increment": 1}]]);
    let steps = json!([["add-triple", id(1), id(900), id(1)], ["add-triple", id(1), id(901), 1]]);
    reader.transact(&mut app, 1, &steps);
    reader.transact(&mut app, 2, &push);
    reader.transact(&mut app, 3, &json!([["add-triple", id(1), id(999), 1]]));
    app.flush_all();
    reader.read(&mut app);
    let first = reader.acks.clone();
    assert!(matches!(first[&2], AckOutcome::Accepted(_)), "{first:?}");
    assert!(matches!(first[&3], AckOutcome::Rejected(_)));
    reader.close(&mut app);
    reader.open(&mut app);
    let before = app.state.position();
    for (seq, steps) in [(1, &steps), (2, &push), (3, &json!([]))] {
        reader.transact(&mut app, seq, steps);
    }
    app.flush_all();
    reader.acks.clear();
    reader.read(&mut app);
    assert_eq!(reader.acks, first);
    assert_eq!(app.state.position(), before);
    // A number that was skipped may still run.
    reader.transact(&mut app, 5, &push);
    reader.transact(&mut app, 4, &push);
    app.flush_all();
    assert_eq!(app.state.position().0, before.0 + 2);
}

#[test]
fn outcomes_that_are_forgotten_are_not_run_again() {
    let limits = AppLimits { outcomes_max: 2, ..AppLimits::default() };
    let mut app = Harness::with(limits, LoadedLog::default(), false);
    let mut reader = Reader::new(7, false);
    reader.open(&mut app);
    for seq in 1..=4 {
        reader.transact(&mut app, seq, &json!([attr(seq as u32, "todos", &format!("a{seq}"))]));
    }
    app.flush_all();
    let before = app.state.position();
    reader.transact(&mut app, 1, &json!([attr(1, "todos", "other")]));
    app.flush_all();
    reader.read(&mut app);
    assert_eq!(reader.acks[&1], AckOutcome::Forgotten);
    assert_eq!(app.state.position(), before);
}

#[test]
fn proposed_attributes_become_those_that_exist() {
    let (mut app, _) = app_with_todos();
    let mut reader = Reader::new(7, false);
    reader.open(&mut app);
    reader.subscribe(&mut app, 1, &json!({"todos": {}}));
    let proposed = json!(["add-attr", {"id": id(700), "forward-identity": [id(701), "todos", "title"],
        "value-type": "blob", "cardinality": "one", "unique?": false, "index?": false}]);
    let steps = json!([
        proposed,
        ["add-triple", id(1), id(900), id(1)],
        ["add-triple", id(1), id(700), "mine"]
    ]);
    reader.transact(&mut app, 1, &steps);
    app.flush_all();
    reader.read(&mut app);
    reader.check(&app);
    let AckOutcome::Accepted(ack) = &reader.acks[&1] else { panic!("{:?}", reader.acks) };
    let text = |attr: &tricedb_core::id::AttrId| attr.to_string();
    let mapped: Vec<_> = ack.attrs.iter().map(|(from, to)| (text(from), text(to))).collect();
    assert_eq!(mapped, [(id(700), id(901))]);
    // A link under the name of data is another thing.
    let wrong = json!([["add-attr", {"id": id(702), "forward-identity": [id(703), "todos", "title"],
        "reverse-identity": [id(704), "users", "titles"],
        "value-type": "ref", "cardinality": "many", "unique?": false, "index?": false}]]);
    reader.transact(&mut app, 2, &wrong);
    app.flush_all();
    reader.read(&mut app);
    assert!(matches!(reader.acks[&2], AckOutcome::Rejected(_)));
}

#[test]
fn what_others_wrote_meanwhile_is_told_with_the_ack() {
    let (mut app, writer) = app_with_todos();
    let mut reader = Reader::new(7, true);
    reader.open(&mut app);
    reader.transact(&mut app, 1, &create(1, "base", false));
    app.flush_all();
    reader.read(&mut app);
    let write = |title: &str| json!([["add-triple", id(1), id(901), title]]);
    app.transact(writer, "other", &write("theirs"));
    reader.transact(&mut app, 2, &write("mine"));
    reader.transact(&mut app, 3, &write("mine again"));
    app.flush_all();
    reader.read(&mut app);
    let was = |seq: u64| match &reader.acks[&seq] {
        AckOutcome::Accepted(ack) => ack.was.clone(),
        other => panic!("{other:?}"),
    };
    assert!(was(1).is_empty());
    assert_eq!(was(2).len(), 1);
    assert_eq!(was(2)[0].value, Some("theirs".into()));
}

#[test]
fn nothing_changed_costs_nothing() {
    let (mut app, writer) = app_with_todos();
    let mut reader = Reader::new(7, true);
    reader.open(&mut app);
    for sub in 0..100 {
        let q = json!({"todos": {"$": {"where": {"title": format!("t{sub}")}}}});
        reader.subscribe(&mut app, sub, &q);
    }
    app.transact(writer, "a", &create(1, "t5", false));
    app.flush_all();
    reader.read(&mut app);
    reader.check(&app);
    reader.close(&mut app);
    assert!(app.state.native.sources.holds_nothing());
    reader.frames = 0;
    reader.bytes = 0;
    reader.open(&mut app);
    assert!(reader.bytes < 1_000, "{}", reader.bytes);
    assert!(reader.agreed.as_ref().unwrap().resumed);
    assert!(reader.agreed.as_ref().unwrap().attrs_same);
    assert_eq!(reader.frames, 0);
    app.transact(writer, "b", &create(2, "t6", false));
    app.flush_all();
    reader.read(&mut app);
    reader.check(&app);
}

#[test]
fn a_client_that_holds_something_else_is_not_resumed() {
    let (mut app, writer) = app_with_todos();
    let q = json!({"todos": {}});
    app.transact(writer, "a", &create(1, "one", false));
    app.flush_all();
    let spoil: [fn(&mut Reader); 4] = [
        |reader| drop(reader.facts.values_mut().next().unwrap().pop_first()),
        |reader| reader.position = TxId(reader.position.0 - 1),
        |reader| reader.agreed.as_mut().unwrap().epoch += 1,
        |reader| drop(reader.queries.insert(SubId(9), json!({"users": {}}))),
    ];
    for spoil in spoil {
        let mut reader = Reader::new(7, true);
        reader.open(&mut app);
        reader.subscribe(&mut app, 1, &q);
        app.flush_all();
        reader.read(&mut app);
        reader.close(&mut app);
        spoil(&mut reader);
        reader.open(&mut app);
        reader.read(&mut app);
        assert!(!reader.agreed.as_ref().unwrap().resumed);
        reader.subscribe(&mut app, 1, &q);
        reader.read(&mut app);
        reader.check(&app);
        reader.close(&mut app);
    }
}

#[test]
fn plain_sessions_may_not_use_what_native_ones_say() {
    let (mut app, writer) = app_with_todos();
    app.send(writer, &json!({"op": "subscribe", "sub": 1, "q": {"todos": {}}}));
    app.send(writer, &json!({"op": "transact", "seq": 1, "tx-steps": []}));
    app.flush_all();
    let answers = app.take(writer);
    let errors = answers.iter().filter(|answer| answer.op() == "error").count();
    assert_eq!(errors, 2, "{answers:?}");
}

#[test]
fn a_large_result_is_encoded_elsewhere_and_others_do_not_wait() {
    let (mut app, writer) = app_with_todos();
    for chunk in 0..6 {
        let steps: Vec<Json> = (0..100)
            .flat_map(|n| create(1_000 + chunk * 100 + n, "t", false).as_array().unwrap().clone())
            .collect();
        app.transact(writer, &format!("fill{chunk}"), &Json::from(steps));
    }
    app.flush_all();
    let mut reader = Reader::new(7, true);
    reader.open(&mut app);
    reader.subscribe(&mut app, 1, &json!({"todos": {}}));
    reader.subscribe(&mut app, 2, &json!({"users": {}}));
    assert_eq!(app.jobs.len(), 1);
    let write = |title: &str| json!([["add-triple", id(1_001), id(901), title]]);
    reader.transact(&mut app, 1, &write("while it is encoded"));
    app.flush_all();
    reader.read(&mut app);
    assert!(reader.acks.contains_key(&1));
    assert!(!reader.facts.contains_key(&SubId(1)));
    let mut other = Reader::new(8, true);
    other.open(&mut app);
    other.subscribe(&mut app, 1, &json!({"todos": {}}));
    assert_eq!(app.jobs.len(), 1, "one encoding for both");
    app.encode();
    for reader in [&mut reader, &mut other] {
        reader.read(&mut app);
        reader.check(&app);
        let resets = reader.kinds.iter().filter(|kind| **kind == PartKind::Reset);
        assert_eq!(resets.count(), reader.queries.len());
    }
    // What comes of it after everybody left is for nobody.
    let mut third = Reader::new(9, true);
    third.open(&mut app);
    third.subscribe(&mut app, 1, &json!({"todos": {"$": {"where": {"done": false}}}}));
    assert_eq!(app.jobs.len(), 1);
    third.close(&mut app);
    app.encode();
}

/// Small numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % sides
    }
}

fn random_steps(dice: &mut Dice) -> Json {
    let n = 1 + dice.roll(8);
    match dice.roll(7) {
        0 => create(n, &format!("t{}", dice.roll(3)), dice.roll(2) == 0),
        1 => json!([["add-triple", id(n), id(902), dice.roll(2) == 0]]),
        2 => json!([["add-triple", id(n), id(901), format!("t{}", dice.roll(3))]]),
        3 => json!([
            ["add-triple", id(100 + n), id(904), id(100 + n)],
            ["add-triple", id(100 + n), id(905), format!("u{}", dice.roll(3))]
        ]),
        4 => json!([["add-triple", id(n), id(903), id(100 + n % 4 + 1)]]),
        5 => json!([["retract-triple", id(n), id(903), id(100 + n % 4 + 1)]]),
        _ => json!([["delete-entity", id(n), "todos"]]),
    }
}

/// Whatever happens, and in whatever order frames are cut, lost or delayed: what a client holds at a
/// position is what evaluation gives there.
#[test]
fn a_reader_that_believes_holds_the_truth() {
    let queries = [
        json!({"todos": {}}),
        json!({"todos": {"$": {"where": {"done": false}}}}),
        json!({"todos": {"$": {"limit": 2, "order": {"serverCreatedAt": "desc"}}}}),
        json!({"users": {"todos": {"$": {"where": {"done": true}}}}}),
        json!({"todos": {"$": {"where": {"owner.name": "u1"}}, "owner": {}}}),
    ];
    let mut resumed = 0;
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let (mut app, writer) = app_with_todos();
        let mut readers: Vec<Reader> = (0..3).map(|n| Reader::new(50 + n, n != 0)).collect();
        readers.iter_mut().for_each(|reader| reader.open(&mut app));
        let mut next_seq = 1;
        for step in 0..120 {
            let who = dice.roll(3) as usize;
            match dice.roll(12) {
                0..=3 => {
                    app.transact(writer, &format!("w{step}"), &random_steps(&mut dice));
                }
                4 | 5 => {
                    next_seq += 1;
                    readers[who].transact(&mut app, next_seq, &random_steps(&mut dice));
                }
                6 => {
                    let sub = dice.roll(5);
                    let reader = &mut readers[who];
                    if reader.queries.contains_key(&SubId(sub)) {
                        let session = reader.session.unwrap();
                        app.send(session, &json!({"op": "unsubscribe", "sub": sub}));
                        reader.queries.remove(&SubId(sub));
                        // What is under way for it is not for a later one of the same number.
                        app.flush_all();
                        reader.read(&mut app);
                        reader.facts.remove(&SubId(sub));
                    } else {
                        reader.subscribe(&mut app, sub, &queries[sub as usize]);
                    }
                }
                7 => {
                    let reader = &mut readers[who];
                    if dice.roll(2) == 0 {
                        reader.read(&mut app);
                    }
                    reader.close(&mut app);
                    app.flush_all();
                    let asked = reader.queries.clone();
                    reader.open(&mut app);
                    if reader.agreed.as_ref().unwrap().resumed {
                        resumed += 1;
                    } else {
                        for (sub, q) in asked {
                            reader.subscribe(&mut app, sub.0, &q);
                        }
                    }
                }
                8 => app.state.pause(readers[who].session.unwrap()),
                9 => {
                    app.state.resume(readers[who].session.unwrap());
                    app.settle();
                }
                10 if !app.appended.is_empty() => app.fail_flush(),
                _ => {
                    app.flush_all();
                    readers[who].read(&mut app);
                }
            }
        }
        for reader in &mut readers {
            app.state.resume(reader.session.unwrap());
        }
        app.transact(writer, "last", &create(9, "t0", false));
        app.flush_all();
        for reader in &mut readers {
            reader.read(&mut app);
            reader.check(&app);
            reader.close(&mut app);
        }
        assert!(app.state.native.sources.holds_nothing());
    }
    assert!(resumed > 20, "{resumed}");
}
