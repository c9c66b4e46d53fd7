//! Changes of an attribute in which its existing values have a say.
//!
//! An [`AttrJob`] checks the values that there are, makes the attribute bind, and builds what serves it, a
//! bounded part at a time, so that writes go on in between. What it changes are ordinary [`Commit`]s. A
//! small attribute is done in one step and one commit; a large one carries `indexing?`,
//! `setting-unique?` or `checking-data-type?` meanwhile and binds new writes from then on.
//!
//! Source: the kinds, their errors and the flags are those of InstantDB's indexing jobs.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::attr::{Attr, Catalog, CheckedType};
use crate::id::{AttrId, EntityId};
use crate::index::{AttrSlot, Cell, Handle, TripleIndex};
use crate::tx::{AttrChange, Change, Commit, FactChange, Stamped, too_large};
use crate::value::Value;

/// What a job makes of its attribute.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JobKind {
    /// Enforce a type.
    CheckDataType(CheckedType),
    /// Enforce no type.
    RemoveDataType,
    /// Serve comparison and order.
    Index,
    /// Serve them no more.
    RemoveIndex,
    /// Allow each value once.
    Unique,
    /// Allow values more than once.
    RemoveUnique,
    /// Ask every entity of the namespace for a value.
    Required,
    /// Ask for none.
    RemoveRequired,
}

impl JobKind {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CheckDataType(_) => "check-data-type",
            Self::RemoveDataType => "remove-data-type",
            Self::Index => "index",
            Self::RemoveIndex => "remove-index",
            Self::Unique => "unique",
            Self::RemoveUnique => "remove-unique",
            Self::Required => "required",
            Self::RemoveRequired => "remove-required",
        }
    }

    /// The type of [`Self::CheckDataType`].
    pub const fn checked_type(self) -> Option<CheckedType> {
        match self {
            Self::CheckDataType(checked) => Some(checked),
            _ => None,
        }
    }
}

/// Why a job failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum JobErrorKind {
    /// Values of another type.
    InvalidTriple,
    /// The attribute is gone or of a kind that cannot be so.
    InvalidAttrState,
    /// One value at several entities.
    TripleNotUnique,
    /// Values too large for an index.
    TripleTooLarge,
    /// Entities without a value.
    MissingRequired,
}

impl JobErrorKind {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidTriple => "invalid-triple-error",
            Self::InvalidAttrState => "invalid-attr-state-error",
            Self::TripleNotUnique => "triple-not-unique-error",
            Self::TripleTooLarge => "triple-too-large-error",
            Self::MissingRequired => "missing-required-error",
        }
    }
}

/// A fact, or the lack of one, that a job cannot go on with.
#[derive(Clone, PartialEq, Debug)]
pub struct Offender {
    /// The entity.
    pub entity: EntityId,
    /// Its value; null where one is missing.
    pub value: Value,
}

/// Why a job failed, and on what; the attribute is as it was before the job.
#[derive(Clone, PartialEq, Debug)]
pub struct JobFailure {
    /// The kind.
    pub kind: JobErrorKind,
    /// Up to ten facts that stand in the way.
    pub offenders: Vec<Offender>,
}

/// How far a job is.
#[derive(Clone, PartialEq, Debug)]
pub enum JobProgress {
    /// There is more to do.
    Working,
    /// The attribute is as asked.
    Done,
    /// It could not be made so.
    Failed(JobFailure),
}

/// How many offending facts a failure names.
const SAMPLE_MAX: usize = 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Begin,
    /// Looks at values before the attribute binds.
    Check(Handle),
    /// Looks again, now that no others can come.
    Recheck(Handle),
    /// Puts values into the value index.
    Gather(Handle),
    /// Gives entities without a value an explicit null.
    Fill(Handle),
    End,
}

/// One change of one attribute, under way.
#[derive(Clone, Debug)]
pub struct AttrJob {
    attr: AttrId,
    kind: JobKind,
    stage: Stage,
    /// The type that was enforced before.
    type_before: Option<CheckedType>,
    estimate: Option<u64>,
    completed: u64,
}

impl AttrJob {
    /// A job that has not begun.
    pub const fn new(attr: AttrId, kind: JobKind) -> Self {
        Self { attr, kind, stage: Stage::Begin, type_before: None, estimate: None, completed: 0 }
    }

    /// The jobs that attributes were in the middle of when their program ended.
    pub fn unfinished(index: &TripleIndex) -> Vec<Self> {
        let mut jobs = Vec::new();
        for attr in index.catalog().live_sorted() {
            if let (true, Some(checked)) = (attr.checking_data_type, attr.checked_data_type) {
                jobs.push(Self::new(attr.id, JobKind::CheckDataType(checked)));
            }
            if attr.setting_unique {
                jobs.push(Self::new(attr.id, JobKind::Unique));
            }
            if attr.indexing {
                jobs.push(Self::new(attr.id, JobKind::Index));
            }
        }
        jobs
    }

    /// The attribute.
    pub const fn attr(&self) -> AttrId {
        self.attr
    }

    /// What it makes of it.
    pub const fn kind(&self) -> JobKind {
        self.kind
    }

    /// How many facts there were to look at when it began; none before.
    pub const fn estimate(&self) -> Option<u64> {
        self.estimate
    }

    /// How many facts it has looked at.
    pub const fn completed(&self) -> u64 {
        self.completed
    }

    /// What it is at, in a word.
    pub const fn stage(&self) -> &'static str {
        match self.stage {
            Stage::Begin => "begin",
            Stage::Check(_) => "validate",
            Stage::Recheck(_) => "revalidate",
            Stage::Gather(_) => "update-triples",
            Stage::Fill(_) => "insert-nulls",
            Stage::End => "done",
        }
    }

    /// Does the next part, looking at `limit` entities or so; the index holds what the commit says. `now`
    /// is in milliseconds since 1970.
    pub fn advance(
        &mut self,
        index: &mut TripleIndex,
        limit: usize,
        now: i64,
    ) -> (Commit, JobProgress) {
        let mut work = Work { index, limit: limit.max(1), now, changes: Vec::new() };
        let progress = match work.index.catalog().live(self.attr).cloned() {
            Some(attr) => self.part(&attr, &mut work).unwrap_or_else(JobProgress::Failed),
            None => JobProgress::Failed(failure(JobErrorKind::InvalidAttrState, Vec::new())),
        };
        if progress != JobProgress::Working {
            self.stage = Stage::End;
        }
        (Commit { changes: work.changes }, progress)
    }

    fn part(&mut self, attr: &Attr, work: &mut Work<'_>) -> Result<JobProgress, JobFailure> {
        match self.kind {
            JobKind::RemoveDataType => work.edit(attr.id, |attr| {
                attr.checked_data_type = None;
                attr.checking_data_type = false;
            }),
            JobKind::RemoveIndex => work.edit(attr.id, |attr| {
                attr.indexed = false;
                attr.indexing = false;
            }),
            // The `id` of a namespace identifies its entities, whatever anybody asks.
            JobKind::RemoveUnique if attr.is_id() => {
                return Err(failure(JobErrorKind::InvalidAttrState, Vec::new()));
            }
            JobKind::RemoveUnique => work.edit(attr.id, |attr| {
                attr.unique = false;
                attr.setting_unique = false;
            }),
            JobKind::RemoveRequired => work.edit(attr.id, |attr| attr.required = false),
            JobKind::Required | JobKind::CheckDataType(_) => return self.check(attr, work),
            JobKind::Index | JobKind::Unique => return self.build(attr, work),
        }
        Ok(JobProgress::Done)
    }

    /// A part of making a type or a value required.
    fn check(&mut self, attr: &Attr, work: &mut Work<'_>) -> Result<JobProgress, JobFailure> {
        if self.stage == Stage::Begin {
            if self.is_so(attr) {
                return Ok(JobProgress::Done);
            }
            if self.kind.checked_type().is_some() && (attr.is_ref() || attr.is_id()) {
                return Err(failure(JobErrorKind::InvalidAttrState, Vec::new()));
            }
            self.type_before = attr.settled_type();
            self.estimate =
                self.scanned(attr, work.index).map(|slot| work.index.holder_count(slot));
            self.stage = match attr.checking_data_type {
                true => Stage::Recheck(Handle(0)),
                false => Stage::Check(Handle(0)),
            };
        }
        let (from, is_bound) = match self.stage {
            Stage::Check(from) => (from, false),
            Stage::Recheck(from) => (from, true),
            _ => return Ok(JobProgress::Done),
        };
        let (offenders, next) = self.scan(attr, from, work);
        if !offenders.is_empty() {
            if is_bound {
                self.unbind(attr.id, work);
            }
            let kind = match self.kind {
                JobKind::Required => JobErrorKind::MissingRequired,
                _ => JobErrorKind::InvalidTriple,
            };
            return Err(failure(kind, offenders));
        }
        match (next, is_bound) {
            (Some(next), true) => self.stage = Stage::Recheck(next),
            (Some(next), false) => self.stage = Stage::Check(next),
            // Looked at in one go, or looked at twice.
            (None, _) if is_bound || from == Handle(0) => {
                self.bind(attr.id, work, false);
                return Ok(JobProgress::Done);
            }
            (None, _) => {
                self.bind(attr.id, work, true);
                self.stage = Stage::Recheck(Handle(0));
            }
        }
        Ok(JobProgress::Working)
    }

    fn is_so(&self, attr: &Attr) -> bool {
        match self.kind {
            JobKind::Required => attr.required,
            JobKind::CheckDataType(checked) => attr.settled_type() == Some(checked),
            JobKind::Index => attr.indexed && !attr.indexing,
            JobKind::Unique => attr.unique && !attr.setting_unique,
            _ => false,
        }
    }

    /// Whose holders are looked at.
    fn scanned(&self, attr: &Attr, index: &TripleIndex) -> Option<AttrSlot> {
        match self.kind {
            JobKind::Required => index.slot(index.catalog().id_attr(attr.etype())?.id),
            _ => index.slot(attr.id),
        }
    }

    /// Looks at some entities; gives those in the way, and where to go on.
    fn scan(
        &mut self,
        attr: &Attr,
        from: Handle,
        work: &Work<'_>,
    ) -> (Vec<Offender>, Option<Handle>) {
        let Some(slot) = self.scanned(attr, work.index) else { return (Vec::new(), None) };
        let (batch, next) = work.batch(slot, from);
        self.completed += batch.len() as u64;
        let offends = |handle: Handle| {
            let entity = work.index.entity(handle);
            let value = work.index.value(entity, attr.id);
            let stands_in_the_way = match self.kind {
                JobKind::CheckDataType(checked) => value.is_some_and(|v| !checked.accepts(v)),
                _ if attr.is_ref() => work.index.links(entity, attr.id).is_empty(),
                _ => value.is_none_or(Value::is_null),
            };
            let value = value.cloned().unwrap_or(Value::Null);
            stands_in_the_way.then_some(Offender { entity, value })
        };
        (batch.into_iter().filter_map(offends).take(SAMPLE_MAX).collect(), next)
    }

    fn bind(&self, attr: AttrId, work: &mut Work<'_>, is_checking: bool) {
        work.edit(attr, |attr| match self.kind {
            JobKind::CheckDataType(checked) => {
                attr.checked_data_type = Some(checked);
                attr.checking_data_type = is_checking;
            }
            _ => attr.required = true,
        });
    }

    /// Takes back what made the attribute bind.
    fn unbind(&self, attr: AttrId, work: &mut Work<'_>) {
        work.edit(attr, |attr| match self.kind {
            JobKind::CheckDataType(_) => {
                attr.checked_data_type = self.type_before;
                attr.checking_data_type = false;
            }
            JobKind::Index => {
                attr.indexed = false;
                attr.indexing = false;
            }
            JobKind::Unique => {
                attr.unique = false;
                attr.setting_unique = false;
            }
            _ => attr.required = false,
        });
    }

    /// A part of making an attribute indexed or unique.
    fn build(&mut self, attr: &Attr, work: &mut Work<'_>) -> Result<JobProgress, JobFailure> {
        match self.stage {
            Stage::Begin => self.begin_building(attr, work),
            Stage::Gather(from) => match self.gather(attr, from, work) {
                Ok(progress) => Ok(progress),
                Err(failure) => {
                    self.unbind(attr.id, work);
                    Err(failure)
                }
            },
            Stage::Fill(from) => Ok(self.fill(attr, from, work)),
            _ => Ok(JobProgress::Done),
        }
    }

    fn begin_building(
        &mut self,
        attr: &Attr,
        work: &mut Work<'_>,
    ) -> Result<JobProgress, JobFailure> {
        if self.is_so(attr) {
            return Ok(JobProgress::Done);
        }
        let slot = work.index.slot(attr.id);
        let is_index = self.kind == JobKind::Index;
        let values = slot.map_or(0, |slot| work.index.holder_count(slot));
        let space = work.index.catalog().id_attr(attr.etype()).and_then(|a| work.index.slot(a.id));
        let entities = space.map_or(0, |space| work.index.holder_count(space));
        let estimate = if is_index { values + entities } else { values };
        self.estimate = Some(estimate);
        let is_marked = attr.indexing && is_index || attr.setting_unique && !is_index;
        if !is_marked && (attr.is_ref() || estimate <= work.limit as u64) {
            if let (Some(slot), false) = (slot, attr.is_ref()) {
                work.check_sizes(attr, slot, Handle(0))?;
            }
            if let (Some(slot), false) = (slot, is_index) {
                work.check_distinct(attr, slot)?;
            }
            self.completed = estimate;
            self.mark(attr.id, work, false);
            if is_index && !attr.is_ref() && attr.catalog == Catalog::User {
                work.fill_nulls(attr, Handle(0));
            }
            return Ok(JobProgress::Done);
        }
        self.mark(attr.id, work, true);
        self.stage = Stage::Gather(Handle(0));
        Ok(JobProgress::Working)
    }

    fn mark(&self, attr: AttrId, work: &mut Work<'_>, is_under_way: bool) {
        let is_index = self.kind == JobKind::Index;
        work.edit(attr, |attr| match is_index {
            true => {
                attr.indexed = true;
                attr.indexing = is_under_way;
            }
            false => {
                attr.unique = true;
                attr.setting_unique = is_under_way;
            }
        });
    }

    fn gather(
        &mut self,
        attr: &Attr,
        from: Handle,
        work: &mut Work<'_>,
    ) -> Result<JobProgress, JobFailure> {
        let next = match work.index.slot(attr.id) {
            Some(slot) => {
                let next = work.check_sizes(attr, slot, from)?;
                let limit = work.limit;
                let gathered = work.index.gather(slot, limit).map_err(|(value, one, other)| {
                    let of = |entity| Offender { entity, value: value.clone() };
                    failure(JobErrorKind::TripleNotUnique, vec![of(one), of(other)])
                })?;
                // Both walk the same entities, but for those that came or went in between.
                next.or((!gathered).then_some(from))
            }
            None => None,
        };
        self.completed += work.limit as u64;
        match next {
            Some(next) => self.stage = Stage::Gather(next),
            None if self.kind == JobKind::Index && attr.catalog == Catalog::User => {
                self.stage = Stage::Fill(Handle(0));
            }
            None => {
                self.mark(attr.id, work, false);
                return Ok(JobProgress::Done);
            }
        }
        Ok(JobProgress::Working)
    }

    fn fill(&mut self, attr: &Attr, from: Handle, work: &mut Work<'_>) -> JobProgress {
        self.completed += work.limit as u64;
        match work.fill_nulls(attr, from) {
            Some(next) => {
                self.stage = Stage::Fill(next);
                JobProgress::Working
            }
            None => {
                self.completed = self.estimate.unwrap_or(self.completed);
                self.mark(attr.id, work, false);
                JobProgress::Done
            }
        }
    }
}

const fn failure(kind: JobErrorKind, offenders: Vec<Offender>) -> JobFailure {
    JobFailure { kind, offenders }
}

/// One part of a job: the index, how much to look at, and what was changed.
struct Work<'a> {
    index: &'a mut TripleIndex,
    limit: usize,
    now: i64,
    changes: Vec<Change>,
}

impl Work<'_> {
    /// The next entities that hold an attribute, and where to go on.
    fn batch(&self, slot: AttrSlot, from: Handle) -> (Vec<Handle>, Option<Handle>) {
        let batch: Vec<_> = self.index.holders_from(slot, from).take(self.limit).collect();
        let next = (batch.len() == self.limit).then(|| batch.last().map(|last| Handle(last.0 + 1)));
        (batch, next.flatten())
    }

    /// Changes an attribute's definition, unless it is so already.
    fn edit(&mut self, id: AttrId, edit: impl FnOnce(&mut Attr)) {
        let Some(old) = self.index.catalog().get(id).cloned() else { return };
        let mut new = Attr::clone(&old);
        edit(&mut new);
        if new != *old {
            let change = AttrChange { old: Some(old), new: Some(new.into()) };
            self.index.apply_attr(&change);
            self.changes.push(Change::Attr(change));
        }
    }

    /// Refuses values that are too large for an index; gives where to go on.
    fn check_sizes(
        &self,
        attr: &Attr,
        slot: AttrSlot,
        from: Handle,
    ) -> Result<Option<Handle>, JobFailure> {
        let (batch, next) = self.batch(slot, from);
        let too_large = |handle: Handle| {
            let entity = self.index.entity(handle);
            let value = self.index.value(entity, attr.id).filter(|value| too_large(value))?;
            Some(Offender { entity, value: value.clone() })
        };
        let offenders: Vec<_> = batch.into_iter().filter_map(too_large).take(SAMPLE_MAX).collect();
        match offenders.is_empty() {
            true => Ok(next),
            false => Err(failure(JobErrorKind::TripleTooLarge, offenders)),
        }
    }

    /// Refuses values that several entities hold, and link targets that several link to.
    fn check_distinct(&self, attr: &Attr, slot: AttrSlot) -> Result<(), JobFailure> {
        let mut seen: HashMap<&Value, EntityId, FxBuildHasher> = HashMap::default();
        let mut offenders = Vec::new();
        for handle in self.index.holders(slot) {
            let Some(row) = self.index.row_at(handle) else { continue };
            let entity = row.id();
            match row.cell(slot) {
                Some(Cell::Data { value, .. }) if !value.is_null() => {
                    let of = |entity| Offender { entity, value: value.clone() };
                    if let Some(first) = seen.insert(value, entity) {
                        offenders.extend([of(first), of(entity)]);
                    }
                }
                Some(Cell::Links(links)) if attr.is_ref() => {
                    let shared =
                        links.into_iter().filter(|l| self.index.sources(slot, l.handle).len() > 1);
                    let of = |link: crate::index::Link| Offender {
                        entity,
                        value: Value::Ref(link.target),
                    };
                    offenders.extend(shared.map(of));
                }
                _ => {}
            }
            if offenders.len() >= SAMPLE_MAX {
                break;
            }
        }
        offenders.truncate(SAMPLE_MAX);
        match offenders.is_empty() {
            true => Ok(()),
            false => Err(failure(JobErrorKind::TripleNotUnique, offenders)),
        }
    }

    /// Gives entities of the namespace an explicit null where they lack a value; gives where to go on.
    fn fill_nulls(&mut self, attr: &Attr, from: Handle) -> Option<Handle> {
        let id_attr = self.index.catalog().id_attr(attr.etype())?.id;
        let space = self.index.slot(id_attr)?;
        let (batch, next) = self.batch(space, from);
        for handle in batch {
            let entity = self.index.entity(handle);
            if !self.index.holds(entity, attr.id) {
                let new = Some(Stamped(Value::Null, self.now));
                let fact = FactChange { entity, attr: attr.id, old: None, new };
                self.index.apply_fact(&fact);
                self.changes.push(Change::Fact(fact));
            }
        }
        next
    }
}

#[cfg(test)]
mod tests;
