//! The admin API's calls: queries and transactions by names, answered once what they show is durable.

use std::sync::Arc;

use serde_json::Value as Json;
use tricedb_core::index::TripleIndex;
use tricedb_core::query::{self, EvalOptions, Inference, Plan, QueryResult};
use tricedb_core::schema::Schema;
use tricedb_core::tx::{
    Actor, AdminSteps, Dialect, ExpandOptions, MissingAttrs, TxStep, expand_with,
    parse_operations_as,
};
use tricedb_protocol::ErrorBody;

use super::held::Remedy;
use super::refusal::{query_refused, too_many_steps, tx_refused};
use super::state::{Answer, AppState, Output, Ticket};

impl AppState {
    /// Answers an InstaQL query with its object form.
    pub fn admin_query(&mut self, ticket: Ticket, query: &Json, inference: Inference) {
        let answer = query::parse(query)
            .and_then(|query| query::evaluate(&self.index, &query, &self.admin_options()))
            .map(|result| Answer::Tree(tree(&result, &self.index, inference)))
            .map_err(|error| query_refused(&error));
        let answer = self.settings.may_read().and(answer);
        self.answer(ticket, answer);
    }

    /// Says how an InstaQL query is answered.
    pub fn explain(&mut self, ticket: Ticket, query: &Json) {
        let answer = query::parse(query)
            .and_then(|query| Plan::new(&self.index, &query, &self.admin_options()))
            .map(|plan| Answer::Explained(Box::new(Arc::new(plan).explain(&self.index))))
            .map_err(|error| query_refused(&error));
        self.answer(ticket, answer);
    }

    fn admin_options(&self) -> EvalOptions {
        EvalOptions { extensions: self.settings.extensions, ..EvalOptions::admin_http() }
    }

    /// Runs the `steps` of `/admin/transact` as one transaction. `now` is in milliseconds since 1970.
    pub fn admin_transact(
        &mut self,
        ticket: Ticket,
        steps: &Json,
        missing: MissingAttrs,
        now: i64,
    ) {
        self.transact_by_names(ticket, steps, missing, Actor::Admin, now);
    }

    /// As [`Self::admin_transact`], on somebody's behalf.
    pub fn transact_by_names(
        &mut self,
        ticket: Ticket,
        steps: &Json,
        missing: MissingAttrs,
        actor: Actor,
        now: i64,
    ) {
        let answer = self
            .expand_admin_steps(steps, missing, actor, now)
            .and_then(|steps| self.run_steps(&steps, actor, now));
        self.answer(ticket, answer);
    }

    /// Runs tx-steps with the admin's rights.
    pub fn admin_steps(&mut self, ticket: Ticket, steps: &[TxStep], now: i64) {
        let answer = self.run_steps(steps, Actor::Admin, now);
        self.answer(ticket, answer);
    }

    /// Makes what the app lacks of a schema.
    pub fn push_schema(&mut self, ticket: Ticket, schema: &Schema, now: i64) {
        let (catalog, ids) = self.catalog_and_ids();
        let answer = match schema.to_attr_steps(catalog, ids) {
            Ok(steps) if steps.is_empty() => Ok(Answer::Committed(self.position)),
            Ok(steps) => self.run_steps(&steps, Actor::Admin, now),
            Err(error) => {
                Err(ErrorBody::bad_request(error.kind().type_name(), error.message(), error.hint()))
            }
        };
        self.answer(ticket, answer);
    }

    /// Gives the live attributes, sorted by id.
    pub fn pull_attrs(&mut self, ticket: Ticket) {
        let attrs = self.index.catalog().live_sorted();
        self.answer(ticket, Ok(Answer::Attrs(attrs)));
    }

    fn answer(&mut self, ticket: Ticket, answer: Result<Answer, ErrorBody>) {
        self.emit(Output::Answer { ticket, answer }, Remedy::FailTicket(ticket));
    }

    fn run_steps(&mut self, steps: &[TxStep], actor: Actor, now: i64) -> Result<Answer, ErrorBody> {
        self.settings.may_write()?;
        let commit = self.execute(steps, actor, now).map_err(|e| tx_refused(&e))?;
        Ok(Answer::Committed(self.commit(commit, None, now)))
    }

    fn expand_admin_steps(
        &mut self,
        steps: &Json,
        missing: MissingAttrs,
        actor: Actor,
        now: i64,
    ) -> Result<Vec<TxStep>, ErrorBody> {
        let count_max = self.limits.steps_per_transaction_max;
        if steps.as_array().is_some_and(|steps| steps.len() > count_max) {
            return Err(too_many_steps("steps", count_max));
        }
        let AdminSteps { attr_steps, operations } =
            parse_operations_as(steps, self.settings.value_form()).map_err(|e| tx_refused(&e))?;
        // The operations may use attributes that the same transaction makes: names are looked up in the
        // catalog as it will be, then all steps run together.
        let ahead = match attr_steps.is_empty() {
            true => None,
            false => Some(self.execute(&attr_steps, actor, now).map_err(|e| tx_refused(&e))?),
        };
        let (catalog, ids) = self.catalog_and_ids();
        let options = ExpandOptions { missing, dialect: Dialect::Admin, schema: None };
        let expanded = expand_with(&operations, catalog, &|_, _| false, &options, ids);
        if let Some(ahead) = ahead {
            self.index.undo(&ahead);
        }
        let mut all = attr_steps;
        all.extend(expanded.map_err(|e| tx_refused(&e))?);
        Ok(all)
    }
}

/// The object form, with aggregates in the place of the rows that they are about.
fn tree(result: &QueryResult, index: &TripleIndex, inference: Inference) -> Json {
    let mut tree = result.to_object(index, inference);
    if let (Json::Object(tree), Some(Json::Object(aggregates))) =
        (&mut tree, result.aggregate_json())
    {
        tree.extend(aggregates);
    }
    tree
}
