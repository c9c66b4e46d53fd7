//! Operators and aggregates beyond InstaQL, between clients and a server.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::time::Duration;

use serde_json::{Value as Json, json};
use tricedb::{Client, Subscription, field, query, tx};
use tricedb_server::app::SettingsChange;
use tricedb_server::{Config, Server};

/// Long enough for anything that happens at all, on a slow machine.
const SOON: Duration = Duration::from_secs(20);

async fn shows(subscription: &mut Subscription, wanted: Json) {
    let shown = subscription.wait_for(|result| {
        result.aggregate().is_some_and(|aggregate| aggregate["orders"] == wanted)
    });
    let shown = tokio::time::timeout(SOON, shown).await;
    assert!(shown.is_ok_and(|shown| shown.is_ok()), "{wanted} did not show");
}

#[tokio::test]
async fn sums_by_group_stay_up_to_date_between_clients() {
    let server = Server::builder(Config::default()).start().await.unwrap();
    let app = server.create_app("Orders", None, None).await.unwrap().id;
    let on = SettingsChange { extensions: Some(true), ..SettingsChange::default() };
    assert!(server.change_settings(app, &on).await.unwrap().extensions);
    let open = || Client::builder(app).url(server.http_url()).open();
    let (one, two) = (open().await.unwrap(), open().await.unwrap());
    let sales = query("orders")
        .filter(field("country").not_in(["XX"]))
        .count()
        .sum("price")
        .group_by(["country"]);
    let mut live = two.subscribe(sales.clone()).unwrap();
    let (a, b) = (one.id(), one.id());
    let transaction = [
        tx("orders", a).create(json!({"country": "CH", "price": 0.1})),
        tx("orders", b).create(json!({"country": "CH", "price": 0.2})),
        tx("orders", one.id()).create(json!({"country": "XX", "price": 9})),
    ];
    one.transact(transaction).unwrap().synced().await.unwrap();
    let group = |country: &str, count: u32, sum: f64| json!({"key": {"country": country}, "count": count, "sum": {"price": sum}});
    shows(&mut live, json!({"groups": [group("CH", 2, 0.30000000000000004)]})).await;
    one.transact(tx("orders", b).update(json!({"country": "AT", "price": 2.5}))).unwrap();
    shows(&mut live, json!({"groups": [group("AT", 1, 2.5), group("CH", 1, 0.1)]})).await;
    one.transact(tx("orders", a).delete()).unwrap();
    shows(&mut live, json!({"groups": [group("AT", 1, 2.5)]})).await;

    // What a client holds it can add up by itself.
    let mut all = two.subscribe(query("orders")).unwrap();
    let full = tokio::time::timeout(SOON, all.wait_for(|result| result.rows("orders").len() == 2));
    full.await.unwrap().unwrap();
    let highest = two.query_local(query("orders").max("price")).unwrap();
    assert_eq!(highest.aggregate().unwrap()["orders"], json!({"max": {"price": 9}}));
    one.close().await.unwrap();
    two.close().await.unwrap();
    server.shutdown().await.unwrap();
}
