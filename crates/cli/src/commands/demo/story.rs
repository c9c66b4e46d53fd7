//! What happens in the demo, part by part.

use std::cell::Cell;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value as Json, json};
use tricedb::tx;
use tricedb_core::id::AppId;
use tricedb_core::query::Inference;
use tricedb_server::RunningServer;
use tricedb_server::session::Apps as _;

use super::DemoFailure;
use super::person::{Person, find};
use super::screen::{Screen, readable};

/// Where it happens.
pub(crate) struct Setting<'a> {
    pub(crate) app: AppId,
    pub(crate) server: &'a RunningServer,
    /// For the clients' files.
    pub(crate) folder: &'a Path,
}

/// How far the story is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Opening,
    Live,
    Offline,
    Reconnecting,
    Comparing,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opening => "the clients connect",
            Self::Live => "a write is on its way to the other clients",
            Self::Offline => "two clients work offline",
            Self::Reconnecting => "the clients exchange what they did offline",
            Self::Comparing => "the server is asked what it holds",
        })
    }
}

/// What came of it. Times are in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    converged: bool,
    clients: usize,
    todos: usize,
    live: Live,
    offline_writes: usize,
    convergence_ms: f64,
}

/// How long a write takes from the call to the last other client's screen.
#[derive(Debug, Serialize)]
struct Live {
    writes: usize,
    median_ms: f64,
    slowest_ms: f64,
}

/// Writes that are timed.
const LIVE_WRITES: usize = 30;
const TRAIN: &str = "Book the train";

pub(crate) async fn tell(
    setting: &Setting<'_>,
    screen: &mut Screen,
    stage: &Cell<Stage>,
) -> Result<Outcome, DemoFailure> {
    let mut people = open(setting, screen).await?;
    stage.set(Stage::Live);
    let todos = make_todos(&mut people).await?;
    let live = live(&mut people, &todos, screen).await?;
    stage.set(Stage::Offline);
    let offline_writes = offline(&mut people, &todos, screen).await?;
    stage.set(Stage::Reconnecting);
    let took = reconnect(&mut people, screen).await?;
    stage.set(Stage::Comparing);
    let shown = compare(setting, &people, &todos, screen).await?;
    for person in &people {
        person.client.close().await.map_err(super::PersonError::from)?;
    }
    let clients = people.len();
    let convergence_ms = ms(took);
    Ok(Outcome { converged: true, clients, todos: shown, live, offline_writes, convergence_ms })
}

async fn open(setting: &Setting<'_>, screen: &mut Screen) -> Result<Vec<Person>, DemoFailure> {
    screen.heading("One server and three clients, in this process")?;
    let begin = Instant::now();
    let url = setting.server.http_url();
    let mut people = Vec::new();
    for (name, file) in [("Ada", Some("ada.db")), ("Ben", Some("ben.db")), ("Cleo", None)] {
        let file = file.map(|file| setting.folder.join(file));
        people.push(Person::open(name, setting.app, &url, file).await?);
    }
    for person in &people {
        person.online(true).await?;
    }
    screen.line(&format!("server  {url}, on SQLite in {}", setting.folder.display()))?;
    screen.line(&format!(
        "clients Ada and Ben on SQLite files, Cleo in memory; connected after {}",
        readable(begin.elapsed())
    ))?;
    Ok(people)
}

/// The entities that the story is about.
struct Todos {
    train: String,
    pack: String,
    plants: String,
    call: String,
}

async fn make_todos(people: &mut [Person]) -> Result<Todos, DemoFailure> {
    let [train, pack, plants, call] = [(); 4].map(|()| people[0].client.id());
    people[0].write([
        tx("todos", train).create(json!({ "title": TRAIN })),
        tx("todos", pack).create(json!({ "title": "Pack", "notes": { "all": "boots" } })),
        tx("todos", plants).create(json!({ "title": "Water the plants", "done": false })),
        tx("todos", call).create(json!({ "title": "Call Grandma" })),
    ])?;
    for person in people {
        person.wait_for(|todos| todos.len() == 4).await?;
    }
    let [train, pack, plants, call] = [train, pack, plants, call].map(|id| id.to_string());
    Ok(Todos { train, pack, plants, call })
}

/// Writes in turn, each timed until all others show it.
async fn live(
    people: &mut [Person],
    todos: &Todos,
    screen: &mut Screen,
) -> Result<Live, DemoFailure> {
    screen.heading("Live: everybody sees what anybody writes")?;
    let mut times = Vec::new();
    for round in 0..LIVE_WRITES {
        let writer = round % people.len();
        let begin = Instant::now();
        people[writer].write(tx("todos", &*todos.pack).update(json!({ "weight": round })))?;
        for (place, person) in people.iter_mut().enumerate() {
            if place != writer {
                let arrived = |shown: &[Json]| {
                    find(shown, &todos.pack).is_some_and(|todo| todo["weight"] == json!(round))
                };
                person.wait_for(arrived).await?;
            }
        }
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    screen.holds(&format!(
        "{LIVE_WRITES} writes in turn, durable on the server and shown by both others: median {}, slowest {}",
        readable(median),
        readable(slowest)
    ))?;
    Ok(Live { writes: LIVE_WRITES, median_ms: ms(median), slowest_ms: ms(slowest) })
}

/// Ada and Ben lose their connection and work on; so does Cleo, who keeps hers.
async fn offline(
    people: &mut [Person],
    todos: &Todos,
    screen: &mut Screen,
) -> Result<usize, DemoFailure> {
    screen.heading("Offline: Ada and Ben lose their connection and work on, Cleo keeps hers")?;
    for person in &people[..2] {
        person.client.sync().disconnect();
        person.online(false).await?;
    }
    let (map, cat) = (people[0].client.id(), people[2].client.id());
    let [ada, ben, cleo] = people else {
        return Err(DemoFailure::NotAsPromised("there are three clients".into()));
    };
    ada.write(tx("todos", &*todos.train).update(json!({ "title": "Book the night train" })))?;
    ada.write(tx("todos", &*todos.pack).merge(json!({ "notes": { "ada": "tent" } })))?;
    ada.write(tx("todos", &*todos.plants).update(json!({ "done": true })))?;
    ada.write(tx("todos", map).create(json!({ "title": "Buy a map" })))?;
    ben.write(tx("todos", &*todos.train).update(json!({ "title": "Book the bus" })))?;
    ben.write(tx("todos", &*todos.pack).merge(json!({ "notes": { "ben": "stove" } })))?;
    ben.write(tx("todos", &*todos.plants).update(json!({ "priority": 1 })))?;
    ben.write(tx("todos", &*todos.call).delete())?;
    cleo.write(tx("todos", cat).create(json!({ "title": "Feed the cat" })))?;
    let refused = cleo.settled().await;
    let waiting = ada.waiting() + ben.waiting();
    show(people, todos, screen)?;
    let titles: Vec<Json> = people
        .iter()
        .map(|person| person.todo(&todos.train).map_or(Json::Null, |todo| todo["title"].clone()))
        .collect();
    let wanted = json!(["Book the night train", "Book the bus", TRAIN]);
    if json!(titles) != wanted || waiting != 8 || !refused.is_empty() {
        return Err(DemoFailure::NotAsPromised(format!(
            "offline, each client shows its own writes and keeps them; titles {titles:?}, {waiting} waiting"
        )));
    }
    screen.holds("each shows its own writes at once; 8 of them wait for the connection")?;
    Ok(waiting)
}

/// Both come back; done when everything is answered and all show the same.
async fn reconnect(people: &mut [Person], screen: &mut Screen) -> Result<Duration, DemoFailure> {
    screen.heading("Reconnect: Ada and Ben come back")?;
    let begin = Instant::now();
    for person in &people[..2] {
        person.client.sync().connect();
    }
    for person in people.iter() {
        let refused = person.settled().await;
        if !refused.is_empty() {
            return Err(DemoFailure::NotAsPromised(format!(
                "nothing that {} did offline is refused; refused was: {}",
                person.name,
                refused.join("; ")
            )));
        }
    }
    let settled = begin.elapsed();
    // The server has everything: each client comes to show what the slowest shows.
    while people.iter().any(|person| person.sees() != people[0].sees()) {
        let [ada, ben, cleo] = &mut *people else { break };
        let (a, b, c) = (ada.sees(), ben.sees(), cleo.sees());
        tokio::select! {
            changed = ada.wait_for(|shown| shown != a) => changed?,
            changed = ben.wait_for(|shown| shown != b) => changed?,
            changed = cleo.wait_for(|shown| shown != c) => changed?,
        }
    }
    let took = begin.elapsed();
    screen.holds(&format!(
        "all offline writes on the server after {}, all screens equal after {}",
        readable(settled),
        readable(took)
    ))?;
    Ok(took)
}

/// All clients against each other, against the server, and against what must have come out.
async fn compare(
    setting: &Setting<'_>,
    people: &[Person],
    todos: &Todos,
    screen: &mut Screen,
) -> Result<usize, DemoFailure> {
    screen.heading("Convergence: nothing is lost, everybody holds the same")?;
    show(people, todos, screen)?;
    let handle = setting.server.registry().open(setting.app).await?;
    let mut held = handle.admin_query(json!({ "todos": {} }), Inference::Arrays).await?;
    let Json::Array(held) = held["todos"].take() else {
        return Err(DemoFailure::NotAsPromised("the server answers with a list".into()));
    };
    for person in people {
        if sorted(person.sees()) != sorted(held.clone()) {
            return Err(DemoFailure::NotAsPromised(format!(
                "{} and the server hold the same; {}: {}; server: {}",
                person.name,
                person.name,
                json!(person.sees()),
                json!(held)
            )));
        }
    }
    let todo = |id: &str| find(&held, id).cloned().unwrap_or_default();
    let title = todo(&todos.train)["title"].clone();
    for (holds, what) in [
        (held.len() == 5, "the two new todos are there, the deleted one is gone"),
        (
            todo(&todos.pack)["notes"] == json!({ "all": "boots", "ada": "tent", "ben": "stove" }),
            "merged notes keep both additions",
        ),
        (
            todo(&todos.plants)["done"] == true && todo(&todos.plants)["priority"] == 1,
            "writes to different attributes of one todo both hold",
        ),
        (
            title == "Book the night train" || title == "Book the bus",
            "of two writes to one attribute the later to arrive holds, for everybody",
        ),
    ] {
        if !holds {
            let what = format!("{what}; the server holds {}", json!(held));
            return Err(DemoFailure::NotAsPromised(what));
        }
        screen.holds(what)?;
    }
    screen.holds("converged: three clients and the server hold the same five todos")?;
    Ok(held.len())
}

/// What everybody sees, side by side.
fn show(people: &[Person], todos: &Todos, screen: &mut Screen) -> Result<(), DemoFailure> {
    let mut rows = vec![
        ["", "title of one todo", "notes of another", "todos", "waiting"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for person in people {
        let field = |id: &str, label: &str| person.todo(id).map(|todo| todo[label].clone());
        let title = field(&todos.train, "title").unwrap_or_default();
        let notes = field(&todos.pack, "notes").unwrap_or_default();
        let notes: Vec<&str> =
            notes.as_object().into_iter().flatten().filter_map(|(_, v)| v.as_str()).collect();
        rows.push(vec![
            person.name.to_owned(),
            title.as_str().unwrap_or("-").to_owned(),
            notes.join(", "),
            person.sees().len().to_string(),
            person.waiting().to_string(),
        ]);
    }
    Ok(screen.table(&rows)?)
}

fn sorted(mut todos: Vec<Json>) -> Vec<Json> {
    todos.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
    todos
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
