//! How a native session begins, perhaps where its client's last one ended; and ends.

use tricedb_core::id::TxId;
use tricedb_core::query::Query;
use tricedb_protocol::ErrorBody;
use tricedb_protocol::native::{
    Compression, Encoding, FactDigest, Have, NATIVE_VERSION, NativeOffer, NativeSession, PartBody,
    PartKind, ResumeOffer, attrs_digest, set_digest,
};

use super::super::live::Rights;
use super::super::sessions::SessionKey;
use super::super::state::AppState;
use super::facts::FactSet;
use super::reader::{NativeReader, ParkedSession, Sub};
use super::source::plan;
use super::sources::SourceId;

impl AppState {
    /// Makes a session that was just opened native. Whatever it holds already is owed with the next
    /// refresh.
    pub(in crate::app) fn open_native(
        &mut self,
        session: SessionKey,
        offer: &NativeOffer,
        now: i64,
    ) {
        if offer.version < NATIVE_VERSION {
            return;
        }
        let compression = if offer.zstd { Compression::Zstd } else { Compression::None };
        let encoding = if offer.binary { Encoding::Binary(compression) } else { Encoding::Json };
        let agreed = NativeSession {
            version: NATIVE_VERSION,
            epoch: self.epoch,
            position: self.position,
            binary: offer.binary,
            zstd: offer.binary && offer.zstd,
            resumed: false,
            attrs_same: false,
        };
        let reader = NativeReader {
            client: offer.client,
            encoding,
            position: self.position,
            agreed,
            subs: Default::default(),
            acks: Vec::new(),
            own_parts: Vec::new(),
        };
        let Some(state) = self.sessions.get_mut(&session) else { return };
        state.native = Some(Box::new(reader));
        let parked = self.native.parked.take(offer.client, now);
        let Some(resume) = offer.resume.as_ref().filter(|resume| resume.epoch == self.epoch) else {
            return;
        };
        let attrs = self.index.catalog().live_sorted();
        let attrs_same = attrs_digest(attrs.iter().map(|attr| &**attr)) == resume.attrs;
        let resumed = parked.is_some_and(|parked| self.resume_native(session, parked, resume));
        if let Some(reader) = self.native_of(session) {
            reader.agreed.attrs_same = attrs_same;
            reader.agreed.resumed = resumed;
            reader.agreed.position = reader.position;
        }
    }

    /// Takes up a client's last session if the client holds exactly what that one's end would have given
    /// it. Whether it does.
    fn resume_native(
        &mut self,
        session: SessionKey,
        parked: ParkedSession,
        resume: &ResumeOffer,
    ) -> bool {
        let ParkedSession { is_admin, subs, .. } = parked;
        let rights = self.sessions.get(&session).map(|state| state.rights());
        let set = set_digest(subs.iter().map(|(sub, _, canonical)| (sub.0, &**canonical)));
        let Some(rights) = rights.filter(|_| set == resume.set) else { return false };
        if is_admin != (rights == Rights::Admin) {
            return false;
        }
        let held = match resume.position == self.position {
            true => None,
            false => {
                let queries: Vec<&Query> = subs.iter().map(|(_, query, _)| query).collect();
                match self.facts_at(resume.position, &queries, rights) {
                    Some(held) => Some(held),
                    None => return false,
                }
            }
        };
        let mut entered = Vec::new();
        let mut digest = FactDigest::default();
        let mut own_parts = Vec::new();
        let mut is_known = true;
        for (at, (sub, query, _)) in subs.into_iter().enumerate() {
            let source = self.native.sources.enter(&self.index, query, rights, session);
            entered.push((sub, source));
            let is_updated = self.update_source(source).is_ok();
            let Some(now) = self.native.sources.get_mut(source).filter(|_| is_updated) else {
                is_known = false;
                break;
            };
            let Some(before) = held.as_ref().map(|held| &held[at]) else {
                digest = digest.with(sub.0, now.digest(&self.index).unwrap_or_default());
                continue;
            };
            digest = digest.with(sub.0, before.digest());
            let body = now.since(before, &self.index).filter(|body| !body.is_empty());
            own_parts.extend(body.map(|body| (sub, body)));
        }
        if !is_known || digest.digest() != resume.digest {
            for (_, source) in entered {
                self.native.sources.leave(source, session);
            }
            return false;
        }
        let sources = &mut self.native.sources;
        let subs = entered.into_iter().filter_map(|(sub, source)| {
            let sent = sources.get_mut(source)?.version;
            Some((sub, Sub { source, sent }))
        });
        let subs = subs.collect();
        let Some(reader) = self.native_of(session) else { return false };
        reader.subs = subs;
        reader.own_parts = own_parts;
        reader.position = resume.position;
        self.native.owed.insert(session);
        true
    }

    /// The facts of queries as they were at a position; `None` if that cannot be told any more.
    fn facts_at(
        &mut self,
        position: TxId,
        queries: &[&Query],
        rights: Rights,
    ) -> Option<Vec<FactSet>> {
        let Self { index, native, position: now, .. } = self;
        let look = |index: &_| {
            let facts = |query: &&Query| {
                plan(index, query, rights).ok().map(|plan| FactSet::evaluate(&plan, index))
            };
            queries.iter().map(facts).collect::<Option<Vec<FactSet>>>()
        };
        native.tail.look_back(index, position, *now, look)?
    }

    /// What leads a reader that says what it holds to the present: a part for it alone, or none if it is to
    /// get the whole.
    pub(super) fn verify_have(
        &mut self,
        query: &Query,
        rights: Rights,
        have: Have,
        source: SourceId,
    ) -> Option<PartBody> {
        let same = PartBody { kind: PartKind::Same, ..PartBody::default() };
        let Have { position, digest } = have;
        self.update_source(source).ok()?;
        if position == self.position {
            let now = self.native.sources.get_mut(source)?.digest(&self.index)?;
            return (now == digest).then_some(same);
        }
        let before = self.facts_at(position, &[query], rights)?.pop()?;
        if before.digest() != digest {
            return None;
        }
        let source = self.native.sources.get_mut(source)?;
        let body = source.since(&before, &self.index)?;
        Some(if body.is_empty() { same } else { body })
    }

    /// Keeps what a native session holds for its client's return.
    pub(in crate::app) fn park_native(
        &mut self,
        session: SessionKey,
        is_admin: bool,
        reader: NativeReader,
    ) {
        let mut subs = Vec::with_capacity(reader.subs.len());
        for (sub, Sub { source, .. }) in reader.subs {
            if let Some(held) = self.native.sources.get_mut(source) {
                let query = held.query.clone();
                let canonical = query.canonical();
                subs.push((sub, query, canonical));
            }
            self.native.sources.leave(source, session);
        }
        let parked = ParkedSession { is_admin, subs };
        self.native.parked.park(reader.client, parked);
    }

    /// Brings a source up to date; whether it changed.
    ///
    /// # Errors
    /// The query cannot be run on the present attributes.
    pub(super) fn update_source(&mut self, id: SourceId) -> Result<bool, ErrorBody> {
        let Self { index, native, position, .. } = self;
        let Some(source) = native.sources.get_mut(id) else { return Ok(false) };
        source.update(index, &native.tail, *position)
    }

    /// The native part of a session.
    pub(super) fn native_of(&mut self, session: SessionKey) -> Option<&mut NativeReader> {
        self.sessions.get_mut(&session)?.native.as_deref_mut()
    }
}
