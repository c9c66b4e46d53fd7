//! A server and clients of it.

use std::time::Duration;

use tricedb::schema::Schema;
use tricedb::{AppId, Client};
use tricedb_server::{Config, RunningServer, Server};

/// Long enough for anything that happens at all, on a slow machine.
const SOON: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what}: did not happen"))
}

pub(crate) struct World {
    pub(crate) server: RunningServer,
    pub(crate) app: AppId,
}

impl World {
    pub(crate) async fn new(schema: Option<&Schema>) -> Self {
        let server = Server::builder(Config::default()).start().await.unwrap();
        let schema = schema.map(Schema::to_json);
        let app = server.create_app("Test", schema.as_ref(), None).await.unwrap().id;
        Self { server, app }
    }

    pub(crate) async fn client(&self) -> Client {
        let db = Client::builder(self.app).url(self.server.http_url()).open().await.unwrap();
        let mut status = db.sync().status();
        soon("online", status.wait_for(|status| status.is_online())).await.unwrap();
        db
    }
}
