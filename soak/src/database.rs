//! The source of truth: a version for each key.
//!
//! It is behind a socket that all instances can reach, whatever happens to Redis.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::clock;
use crate::history::{Event, Life};
use crate::items::{FIRST_VERSION, Item};

/// The database, which ends when it is dropped.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    contents: Arc<Mutex<Contents>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Contents {
    versions: HashMap<Item, u64>,
    /// Set while loads fail.
    is_down: bool,
    events: Vec<Event>,
}

impl Database {
    /// Starts to serve at `path`.
    ///
    /// # Errors
    /// The socket cannot be created.
    pub fn start(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let contents = Arc::new(Mutex::new(Contents::default()));
        let task = tokio::spawn(serve(listener, Arc::clone(&contents)));
        Ok(Self {
            path: path.to_owned(),
            contents,
            task,
        })
    }

    /// Returns the path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets all loads fail, or none. Commits do not fail, so that values are also invalidated while
    /// loads fail.
    pub fn set_down(&self, is_down: bool) {
        lock(&self.contents).is_down = is_down;
    }

    /// Returns the commits and loads since the last call.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut lock(&self.contents).events)
    }

    /// Returns the number of loads of a key among the events that were not taken yet.
    #[must_use]
    pub fn loads(&self, wanted: Item) -> usize {
        let contents = lock(&self.contents);
        let loads = contents
            .events
            .iter()
            .filter(|event| matches!(event, Event::Load { item, .. } if *item == wanted));
        loads.count()
    }

    /// Returns the number of commits among the events that were not taken yet.
    #[must_use]
    pub fn commits(&self) -> usize {
        let contents = lock(&self.contents);
        let is_commit = |event: &&Event| matches!(event, Event::Commit { .. });
        contents.events.iter().filter(is_commit).count()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(contents: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    contents.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: UnixListener, contents: Arc<Mutex<Contents>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let contents = Arc::clone(&contents);
        connections.spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            if stream.read_line(&mut line).await.is_ok()
                && let Some(version) = answer(&contents, line.trim())
            {
                let _ = stream.write_all(version.to_string().as_bytes()).await;
            }
        });
    }
}

/// Answers `load <instance> <number of its life> <item>` or `commit <item>` with a version.
fn answer(contents: &Mutex<Contents>, request: &str) -> Option<u64> {
    let parts: Vec<_> = request.split(' ').collect();
    let mut contents = lock(contents);
    let Contents {
        versions,
        events,
        is_down,
    } = &mut *contents;
    match parts[..] {
        ["load", ..] if *is_down => None,
        ["load", instance, number, item] => {
            let item = item.parse().ok()?;
            let version = *versions.entry(item).or_insert(FIRST_VERSION);
            events.push(Event::Load {
                life: Life {
                    instance: instance.parse().ok()?,
                    number: number.parse().ok()?,
                },
                item,
                at: clock::now(),
            });
            Some(version)
        }
        ["commit", item] => {
            let item = item.parse().ok()?;
            let version = versions.entry(item).or_insert(FIRST_VERSION);
            *version += 1;
            events.push(Event::Commit {
                item,
                version: *version,
                at: clock::now(),
            });
            Some(*version)
        }
        _ => None,
    }
}

/// Access to the database for one instance.
#[derive(Clone, Debug)]
pub struct Client {
    path: Arc<Path>,
    life: Life,
}

impl Client {
    /// Creates a client for an instance.
    #[must_use]
    pub fn new(path: &Path, life: Life) -> Self {
        Self {
            path: path.into(),
            life,
        }
    }

    /// Returns the version of a key.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn load(&self, item: Item) -> io::Result<u64> {
        let Life { instance, number } = self.life;
        self.request(format!("load {instance} {number} {item}\n"))
            .await
    }

    /// Commits the next version of a key.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn commit(&self, item: Item) -> io::Result<u64> {
        self.request(format!("commit {item}\n")).await
    }

    async fn request(&self, request: String) -> io::Result<u64> {
        let mut stream = UnixStream::connect(&self.path).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        reply
            .parse()
            .map_err(|_| io::Error::other("the database sent no version"))
    }
}
