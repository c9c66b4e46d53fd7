//! Writing queries in Rust.

use serde_json::{Map, Value as Json, json};

use super::error::QueryError;
use super::form::{Cursor, Query};

/// Asks for the entities of a namespace, or below another builder for those behind a link.
///
/// ```
/// use tricedb_core::query::{field, query};
///
/// let open = query("todos")
///     .filter(field("done").eq(false))
///     .order_by("createdAt")
///     .limit(20)
///     .with(query("owner").fields(["name"]))
///     .build()?;
/// assert_eq!(
///     open.json()["todos"]["$"]["where"],
///     serde_json::json!({"done": false}),
/// );
/// # Ok::<_, tricedb_core::query::QueryError>(())
/// ```
pub fn query(label: impl Into<String>) -> QueryBuilder {
    QueryBuilder {
        label: label.into(),
        options: Map::new(),
        children: Map::new(),
        beside: Map::new(),
    }
}

/// A query in the making; see [`query`].
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct QueryBuilder {
    label: String,
    options: Map<String, Json>,
    children: Map<String, Json>,
    /// Other namespaces of the same query, and rule parameters.
    beside: Map<String, Json>,
}

impl QueryBuilder {
    /// Keeps entities that meet a condition; several filters must all hold.
    ///
    /// Plain filters of one form whose paths begin alike speak of one linked entity; to ask for several,
    /// put them into [`all`].
    pub fn filter(mut self, filter: Filter) -> Self {
        let conditions = self.options.entry("where").or_insert_with(|| Json::Object(Map::new()));
        if let Json::Object(conditions) = conditions {
            filter.add_to(conditions);
        }
        self
    }

    /// Sorts by an attribute, or by `serverCreatedAt`, smallest first.
    pub fn order_by(self, label: impl Into<String>) -> Self {
        self.order(label, "asc")
    }

    /// Sorts by an attribute, or by `serverCreatedAt`, largest first.
    pub fn order_by_desc(self, label: impl Into<String>) -> Self {
        self.order(label, "desc")
    }

    fn order(self, label: impl Into<String>, sense: &str) -> Self {
        self.option("order", json!({label.into(): sense}))
    }

    /// Gives at most so many.
    pub fn limit(self, count: usize) -> Self {
        self.option("limit", count.into())
    }

    /// Gives the last so many of the order.
    pub fn last(self, count: usize) -> Self {
        self.option("last", count.into())
    }

    /// Skips so many.
    pub fn offset(self, count: usize) -> Self {
        self.option("offset", count.into())
    }

    /// Begins behind the row of a cursor.
    pub fn after(self, cursor: &Cursor) -> Self {
        self.option("after", cursor_json(cursor))
    }

    /// Ends before the row of a cursor.
    pub fn before(self, cursor: &Cursor) -> Self {
        self.option("before", cursor_json(cursor))
    }

    /// Gives these attributes only, and always `id`.
    pub fn fields<I: IntoIterator<Item: Into<String>>>(self, labels: I) -> Self {
        let labels: Vec<Json> =
            labels.into_iter().map(|label| Json::String(label.into())).collect();
        self.option("fields", labels.into())
    }

    /// Counts instead of listing. InstantDB counts for administrators only; with a sum or another
    /// aggregate beside it this is an extension of TriceDB.
    pub fn count(mut self) -> Self {
        match self.options.get_mut("aggregate") {
            Some(Json::Object(asked)) => drop(asked.insert("count".into(), true.into())),
            _ => drop(self.options.insert("aggregate".into(), "count".into())),
        }
        self
    }

    /// Gives the sum of the numbers under an attribute, instead of listing. An extension of TriceDB, as are
    /// the other aggregates; see [`crate::query`].
    ///
    /// ```
    /// use serde_json::json;
    /// use tricedb_core::query::{field, query};
    ///
    /// let sales = query("orders").filter(field("paid").eq(true)).count().sum("price").group_by(["country"]);
    /// assert_eq!(
    ///     sales.build()?.json()["orders"]["$"]["aggregate"],
    ///     json!({"count": true, "sum": ["price"], "groupBy": ["country"]}),
    /// );
    /// # Ok::<_, tricedb_core::query::QueryError>(())
    /// ```
    pub fn sum(self, label: impl Into<String>) -> Self {
        self.aggregate("sum", [label])
    }

    /// Gives the mean of the numbers under an attribute.
    pub fn avg(self, label: impl Into<String>) -> Self {
        self.aggregate("avg", [label])
    }

    /// Gives the smallest value under an attribute.
    pub fn min(self, label: impl Into<String>) -> Self {
        self.aggregate("min", [label])
    }

    /// Gives the largest value under an attribute.
    pub fn max(self, label: impl Into<String>) -> Self {
        self.aggregate("max", [label])
    }

    /// Aggregates rows with equal values under these attributes, or equal targets of a link, by
    /// themselves.
    pub fn group_by<I: IntoIterator<Item: Into<String>>>(self, labels: I) -> Self {
        self.aggregate("groupBy", labels)
    }

    fn aggregate<I: IntoIterator<Item: Into<String>>>(mut self, key: &str, labels: I) -> Self {
        let asked = self.options.entry("aggregate").or_insert_with(|| json!({}));
        if asked.is_string() {
            *asked = json!({"count": true});
        }
        let list = asked.as_object_mut().map(|asked| asked.entry(key).or_insert_with(|| json!([])));
        if let Some(Json::Array(list)) = list {
            list.extend(labels.into_iter().map(|label| Json::String(label.into())));
        }
        self
    }

    fn option(mut self, key: &str, value: Json) -> Self {
        self.options.insert(key.into(), value);
        self
    }

    /// Gives linked entities below each entity, under the name of the link.
    pub fn with(mut self, link: Self) -> Self {
        let (label, form) = link.into_form();
        self.children.insert(label, form);
        self
    }

    /// Asks for another namespace in the same query.
    pub fn and(mut self, other: Self) -> Self {
        let Json::Object(other) = Json::from(other) else { return self };
        self.beside.extend(other);
        self
    }

    /// Hands parameters to permission rules.
    pub fn rule_params(mut self, params: Json) -> Self {
        self.beside.insert(super::form::RULE_PARAMS.into(), params);
        self
    }

    /// The finished query.
    ///
    /// # Errors
    /// What [`super::parse`] refuses, such as a limit of zero.
    pub fn build(self) -> Result<Query, QueryError> {
        super::parse(&self.into())
    }

    fn into_form(self) -> (String, Json) {
        let mut form = self.children;
        if !self.options.is_empty() {
            form.insert("$".into(), self.options.into());
        }
        (self.label, form.into())
    }
}

fn cursor_json(cursor: &Cursor) -> Json {
    json!([cursor.entity, cursor.attr, cursor.value, cursor.created_at])
}

impl From<QueryBuilder> for Json {
    fn from(mut builder: QueryBuilder) -> Self {
        let mut all = std::mem::take(&mut builder.beside);
        let (label, form) = builder.into_form();
        all.insert(label, form);
        Self::Object(all)
    }
}

impl TryFrom<QueryBuilder> for Query {
    type Error = QueryError;

    fn try_from(builder: QueryBuilder) -> Result<Self, QueryError> {
        builder.build()
    }
}

/// Names a value to test: an attribute, or a path over links such as `"author.name"`.
pub fn field(path: impl Into<String>) -> Path {
    Path(path.into())
}

/// A value to test; see [`field`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Path(String);

/// A condition on entities.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Filter(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Path(String, Json),
    Group(&'static str, Vec<Filter>),
}

/// Holds if each of the conditions does, each for itself. None at all hold for every entity.
pub fn all(filters: impl IntoIterator<Item = Filter>) -> Filter {
    Filter(Kind::Group("and", filters.into_iter().collect()))
}

/// Holds if one of the conditions does.
pub fn any(filters: impl IntoIterator<Item = Filter>) -> Filter {
    Filter(Kind::Group("or", filters.into_iter().collect()))
}

impl Path {
    fn is(self, condition: Json) -> Filter {
        Filter(Kind::Path(self.0, condition))
    }

    fn operator(self, name: &str, operand: Json) -> Filter {
        self.is(json!({name: operand}))
    }

    /// Equal to a string, number or boolean; for links, to the id of the linked entity.
    pub fn eq(self, value: impl Into<Json>) -> Filter {
        self.is(value.into())
    }

    /// Another value, or none.
    pub fn ne(self, value: impl Into<Json>) -> Filter {
        self.operator("$ne", value.into())
    }

    /// One of several values.
    pub fn is_in<I: IntoIterator<Item: Into<Json>>>(self, values: I) -> Filter {
        let values: Vec<Json> = values.into_iter().map(Into::into).collect();
        self.operator("$in", values.into())
    }

    /// Greater than a value of the same type.
    pub fn gt(self, value: impl Into<Json>) -> Filter {
        self.operator("$gt", value.into())
    }

    /// Greater than a value of the same type, or equal.
    pub fn gte(self, value: impl Into<Json>) -> Filter {
        self.operator("$gte", value.into())
    }

    /// Less than a value of the same type.
    pub fn lt(self, value: impl Into<Json>) -> Filter {
        self.operator("$lt", value.into())
    }

    /// Less than a value of the same type, or equal.
    pub fn lte(self, value: impl Into<Json>) -> Filter {
        self.operator("$lte", value.into())
    }

    /// Matches a pattern: `%` any run of characters, `_` one.
    pub fn like(self, pattern: impl Into<String>) -> Filter {
        self.operator("$like", pattern.into().into())
    }

    /// Matches a pattern whatever the letter case.
    pub fn ilike(self, pattern: impl Into<String>) -> Filter {
        self.operator("$ilike", pattern.into().into())
    }

    /// None of several values, or no value. An extension of TriceDB.
    pub fn not_in<I: IntoIterator<Item: Into<Json>>>(self, values: I) -> Filter {
        let values: Vec<Json> = values.into_iter().map(Into::into).collect();
        self.operator("$nin", values.into())
    }

    /// A string with this part, or a list with this element. An extension of TriceDB.
    pub fn contains(self, part: impl Into<Json>) -> Filter {
        self.operator("$contains", part.into())
    }

    /// A string of so many characters, or a list of so many elements. An extension of TriceDB.
    pub fn size(self, size: u64) -> Filter {
        self.operator("$size", size.into())
    }

    /// A string of at least so many characters, or a list of at least so many elements. An extension of
    /// TriceDB.
    pub fn size_at_least(self, size: u64) -> Filter {
        self.operator("$size", json!({"$gte": size}))
    }

    /// A string of at most so many characters, or a list of at most so many elements. An extension of
    /// TriceDB.
    pub fn size_at_most(self, size: u64) -> Filter {
        self.operator("$size", json!({"$lte": size}))
    }

    /// Null or missing, or behind a missing link.
    pub fn is_null(self) -> Filter {
        self.operator("$isNull", true.into())
    }

    /// There, and not null.
    pub fn is_not_null(self) -> Filter {
        self.operator("$isNull", false.into())
    }
}

impl Filter {
    fn into_json(self) -> Json {
        let mut conditions = Map::new();
        self.add_to(&mut conditions);
        conditions.into()
    }

    fn add_to(self, conditions: &mut Map<String, Json>) {
        let (key, value) = match self.0 {
            // The language has no empty lists: nothing to meet, and nothing that could be met.
            Kind::Group("and", filters) if filters.is_empty() => return,
            Kind::Group(_, filters) if filters.is_empty() => ("id".into(), json!({"$in": []})),
            Kind::Group(name, filters) => {
                let items: Vec<Json> = filters.into_iter().map(Self::into_json).collect();
                (name.to_owned(), items.into())
            }
            Kind::Path(path, condition) => (path, condition),
        };
        if !conditions.contains_key(&key) {
            conditions.insert(key, value);
            return;
        }
        // A key that is taken goes into the list of further conditions.
        let more = conditions.entry("and").or_insert_with(|| Json::Array(Vec::new()));
        if let Json::Array(more) = more {
            match (key.as_str(), value) {
                ("and", Json::Array(items)) => more.extend(items),
                (_, value) => more.push(json!({key: value})),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_gives_the_json_that_one_would_write() {
        let built = query("todos")
            .filter(field("done").eq(false))
            .filter(any([field("a").gt(1), field("b.c").is_null()]))
            .filter(field("done").ne(true))
            .order_by_desc("createdAt")
            .limit(3)
            .with(query("owner").fields(["name"]).with(query("teams")))
            .and(query("users"))
            .rule_params(json!({"x": 1}));
        let expected = json!({
            "todos": {
                "$": {
                    "where": {
                        "done": false,
                        "or": [{"a": {"$gt": 1}}, {"b.c": {"$isNull": true}}],
                        "and": [{"done": {"$ne": true}}],
                    },
                    "order": {"createdAt": "desc"},
                    "limit": 3,
                },
                "owner": {"$": {"fields": ["name"]}, "teams": {}},
            },
            "users": {},
            "$$ruleParams": {"x": 1},
        });
        assert_eq!(Json::from(built), expected);
    }

    #[test]
    fn extensions_are_written_as_users_of_json_would() {
        let built = query("todos")
            .filter(field("a").not_in([1, 2]))
            .filter(field("b").contains("x"))
            .filter(field("c").size(2))
            .filter(field("d").size_at_least(1))
            .filter(field("e").size_at_most(3))
            .sum("n")
            .count()
            .max("n")
            .sum("m")
            .avg("n")
            .min("m");
        let expected = json!({"todos": {"$": {
            "where": {
                "a": {"$nin": [1, 2]}, "b": {"$contains": "x"}, "c": {"$size": 2},
                "d": {"$size": {"$gte": 1}}, "e": {"$size": {"$lte": 3}},
            },
            "aggregate": {
                "count": true, "sum": ["n", "m"], "max": ["n"], "avg": ["n"], "min": ["m"],
            },
        }}});
        assert_eq!(Json::from(built), expected);
        assert_eq!(Json::from(query("todos").count())["todos"]["$"]["aggregate"], "count");
        assert!(query("todos").group_by(["n"]).build().is_err());
        assert!(query("todos").sum("n").limit(3).build().is_err());
    }

    #[test]
    fn empty_lists_mean_what_they_say() {
        assert_eq!(all([]).into_json(), json!({}));
        assert_eq!(any([]).into_json(), json!({"id": {"$in": []}}));
        assert!(query("todos").limit(0).build().is_err());
    }
}
