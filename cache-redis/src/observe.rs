//! Publishes the state of this instance for tools, its functions, and the layouts of their values.
//!
//! One task of the first shard does so. It never waits for a link, and a failure concerns neither
//! the link nor the breaker: the task tries again five seconds later.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::kit::{AbortOnDrop, lock};
use cache_core::tier::{AboutInstance, ObservedRuntime};
use tokio::time::{sleep, timeout};
use xxhash_rust::xxh3::xxh3_64;

use crate::commands::publish::{Missing, PublishFields, PublishInstance, RemoveFields};
use crate::commands::{self, Command};
use crate::errors;
use crate::permissions::Purpose;
use crate::session::RedisSession;

/// The time between two publications.
const PERIOD: Duration = Duration::from_secs(5);

/// The life of the state of an instance: two publications may be lost.
const LIFE: Duration = Duration::from_secs(15);

/// The life of functions and layouts, which each publication renews.
const LIFE_OF_FIELDS: Duration = Duration::from_secs(24 * 60 * 60);

/// The size of the largest state that is published.
const LARGEST_STATE: usize = 32 << 10;

/// The number of fields that are sent in one command. A field has a few hundred bytes.
const FIELDS_AT_ONCE: usize = 64;

/// The task that publishes, if it runs.
#[derive(Debug, Default)]
pub(crate) struct Publisher(Mutex<Option<AbortOnDrop<()>>>);

impl Publisher {
    /// Starts the task, if the settings say so.
    pub(crate) fn start(&self, session: &Arc<RedisSession>, runtime: Arc<dyn ObservedRuntime>) {
        let Some(name) = &session.settings.observe else {
            return;
        };
        let publication = Publication::new(name, Arc::clone(session), runtime);
        let task = AbortOnDrop::new(tokio::spawn(publication.run()));
        *lock(&self.0) = Some(task);
    }

    /// Ends the task, and removes the state of the instance, so that tools do not take it for one
    /// that runs. Nothing is removed without a link.
    pub(crate) async fn stop(&self, session: &RedisSession) {
        let task = lock(&self.0).take();
        let Some(task) = task else {
            return;
        };
        task.stop().await;
        let (Some(name), Ok(mut link)) = (&session.settings.observe, session.require_link()) else {
            return;
        };
        let mut remove = redis::cmd("DEL");
        remove.arg(session.keys.instance(&id(name, session)));
        let removed = remove.exec_async(&mut link.data);
        // If it is not removed, it expires.
        let _ = timeout(session.settings.time_limit, removed).await;
    }
}

/// Identifies an instance among those that publish.
fn id(name: &str, session: &RedisSession) -> String {
    format!("{name}-{}", session.owner)
}

/// The state of the task.
struct Publication {
    session: Arc<RedisSession>,
    runtime: Arc<dyn ObservedRuntime>,
    about: AboutInstance,
    /// The hashes of the values that the server is known to have, by their fields.
    functions: HashMap<String, u64>,
    /// The fields of the layouts that the server is known to have.
    shapes: BTreeSet<String>,
    /// Counts the publications, so that each looks for another field.
    count: usize,
}

impl Publication {
    fn new(name: &str, session: Arc<RedisSession>, runtime: Arc<dyn ObservedRuntime>) -> Self {
        let (settings, now) = (&session.settings, session.now());
        let about = AboutInstance {
            id: id(name, &session),
            name: name.to_owned(),
            number: session.owner,
            began: now,
            published: now,
            period: PERIOD,
            staleness_bound: settings.staleness_bound,
            lease_time: settings.lease_time,
            max_record_bytes: settings.max_record_bytes,
            shards: session.shard.count(),
        };
        Self {
            session,
            runtime,
            about,
            functions: HashMap::new(),
            shapes: BTreeSet::new(),
            count: 0,
        }
    }

    /// Publishes until the runtime no longer exists, or the task is ended.
    async fn run(mut self) {
        loop {
            self.about.published = self.session.now();
            let Some(state) = self.runtime.instance(&self.about, LARGEST_STATE) else {
                return;
            };
            if let Err(error) = self.publish(&state).await {
                tracing::debug!(
                    target: "multi_tier_cached::redis",
                    error = ?error,
                    "the state of this instance was not published for tools"
                );
            }
            sleep(PERIOD).await;
        }
    }

    async fn publish(&mut self, state: &str) -> Result<(), Error> {
        if self.session.permissions.lacks(Purpose::Observe) {
            // The log and the health name the commands that are missing.
            return Ok(());
        }
        let functions = self.runtime.functions();
        self.remove_functions(&functions).await?;
        let field = match functions.len() {
            0 => "",
            count => &functions[self.count % count].0,
        };
        let shape = self.count % self.shapes.len().max(1);
        let shape = self.shapes.iter().nth(shape).cloned().unwrap_or_default();
        self.count = self.count.wrapping_add(1);
        let about = self.about.clone();
        let command = PublishInstance {
            id: &about.id,
            state,
            life: LIFE,
            life_of_fields: LIFE_OF_FIELDS,
            field,
            shape: &shape,
        };
        if self.send(command).await? == Missing::Fields {
            self.functions.clear();
            self.shapes.clear();
        }
        self.publish_functions(functions).await?;
        self.publish_shapes().await
    }

    /// Removes the functions that no longer exist. If another instance has them, it writes them
    /// again.
    async fn remove_functions(&mut self, functions: &[(String, String)]) -> Result<(), Error> {
        let exist: HashSet<&str> = functions.iter().map(|(field, _)| &**field).collect();
        let published = self.functions.keys();
        let removed = published.filter(|field| !exist.contains(&***field));
        let removed: Vec<_> = removed.cloned().collect();
        let hash = self.session.keys.functions();
        for fields in removed.chunks(FIELDS_AT_ONCE) {
            let hash = &*hash;
            self.send(RemoveFields { hash, fields }).await?;
        }
        self.functions.retain(|field, _| exist.contains(&**field));
        Ok(())
    }

    /// Publishes the functions that are new or have changed.
    async fn publish_functions(&mut self, functions: Vec<(String, String)>) -> Result<(), Error> {
        let changed = functions
            .into_iter()
            .filter(|(field, value)| self.functions.get(field) != Some(&xxh3_64(value.as_bytes())));
        let changed: Vec<_> = changed.collect();
        let hash = self.session.keys.functions();
        self.publish_fields(&hash, &changed).await?;
        let published = changed
            .into_iter()
            .map(|(field, value)| (field, xxh3_64(value.as_bytes())));
        self.functions.extend(published);
        Ok(())
    }

    /// Publishes the layouts that are new.
    async fn publish_shapes(&mut self) -> Result<(), Error> {
        let shapes = self.runtime.shapes(&self.shapes);
        let hash = self.session.keys.shapes();
        self.publish_fields(&hash, &shapes).await?;
        let published = shapes.into_iter().map(|(field, _)| field);
        self.shapes.extend(published);
        Ok(())
    }

    async fn publish_fields(&self, hash: &str, fields: &[(String, String)]) -> Result<(), Error> {
        for fields in fields.chunks(FIELDS_AT_ONCE) {
            let command = PublishFields {
                hash,
                life: LIFE_OF_FIELDS,
                fields,
            };
            self.send(command).await?;
        }
        Ok(())
    }

    /// Runs one command on the current link.
    async fn send<C: Command>(&self, command: C) -> Result<C::Reply, Error> {
        let mut link = self.session.require_link()?;
        let sent = commands::send(&mut link.data, &self.session.keys, command);
        let reply = timeout(self.session.silence(), sent).await;
        let reply = reply.unwrap_or_else(|_| Err(errors::no_reply()));
        reply.map_err(|error| {
            self.session.permissions.doubt();
            errors::failed("publish the state of this instance", error)
        })
    }
}
