//! What is sent over a link beside the calls: invalidations, leases that are renewed or given back, heartbeats, barriers.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::{FunctionKey, Glob, Target};
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Pipeline, RedisError, ScriptInvocation};
use tokio::time::{Instant, timeout};

use crate::guards::GuardedKey;
use crate::journal::{Invalidated, Queued};
use crate::keys::{GUARDS, LEASE, WAITS};
use crate::leases::Returned;
use crate::link::{Connected, Shared};
use crate::number::{fresh_number, millis};
use crate::permissions::Purpose;
use crate::server;

/// How often a write is tried: a primary that nobody follows any more may still answer reads.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

/// As it is, in a pattern of the server.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "*?[]\\^-".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn code_in<T>(answer: &Result<T, RedisError>) -> Option<&str> {
    answer.as_ref().err()?.code()
}

/// What goes in one pipeline, before it is noted that it was sent.
const PORTION: usize = 256;

impl Shared {
    /// Sends one invalidation, which may begin a new history.
    pub(crate) async fn send(
        &self,
        connected: &Connected,
        what: &Invalidated,
    ) -> Result<(), RedisError> {
        let asked = self.bus.epochs.mark();
        let (invocation, history) = self.invalidation(connected, what);
        let mut data = connected.data.clone();
        let _: i64 = invocation.invoke_async(&mut data).await?;
        if let Some(history) = history {
            self.bus.epochs.adopt(history, asked);
        }
        Ok(())
    }

    /// What invalidates it, and the number of the history that this begins.
    fn invalidation(
        &self,
        connected: &Connected,
        what: &Invalidated,
    ) -> (ScriptInvocation<'_>, Option<u64>) {
        let (keys, scripts) = (&self.keys, &self.scripts);
        let fresh = fresh_number();
        let (script, mut names, mut arguments, history) = what.with_target(|target| match target {
            Target::Key(key) => (
                &scripts.invalidate_key,
                vec![keys.record(key), keys.lease(key)],
                vec![key.digest.to_string()],
                None,
            ),
            Target::Function(function) => (
                &scripts.invalidate_function,
                vec![keys.epoch(function)],
                vec![fresh.to_string(), function.digest.to_string()],
                None,
            ),
            _ => (
                &scripts.invalidate_all,
                vec![keys.history()],
                vec![fresh.to_string(), connected.identity.to_string()],
                Some(fresh),
            ),
        });
        names.push(keys.sequence());
        if let Some(audit) = &self.settings.audit {
            names.push(keys.audit());
            let what = what.with_target(|target| match target {
                Target::Key(key) => key.name(),
                Target::Function(function) => function.versioned(),
                _ => "*".to_owned(),
            });
            arguments.extend([audit.who.clone(), what, audit.most.to_string()]);
        }
        arguments.push(keys.channel());
        let mut invocation = script.prepare_invoke();
        for name in names {
            invocation.key(name);
        }
        for argument in arguments {
            invocation.arg(argument);
        }
        (invocation, history)
    }

    /// Sends a pipeline of scripts, and their texts before it where the server has forgotten them.
    async fn exec<T: FromRedisValue>(
        &self,
        connected: &Connected,
        pipeline: &Pipeline,
    ) -> Result<T, RedisError> {
        let mut data = connected.data.clone();
        match pipeline.query_async(&mut data).await {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                self.scripts.load(&mut data).await?;
                pipeline.query_async(&mut data).await
            }
            answered => answered,
        }
    }

    /// Sends all that is queued, in portions: what was sent is not sent again if the rest does not get
    /// through. Returns the number of those that the server refused for now; they stay queued.
    ///
    /// It may take any time in all, on a slow link; only a portion that is not answered within the
    /// [silence](Self::silence) ends it.
    pub(crate) async fn drain(
        &self,
        connected: &Connected,
        generation: u64,
    ) -> Result<usize, Error> {
        self.drain_by(connected, generation, self.silence()).await
    }

    /// The same with another limit for each portion.
    pub(crate) async fn drain_by(
        &self,
        connected: &Connected,
        generation: u64,
        limit: Duration,
    ) -> Result<usize, Error> {
        let mut queued = self.journal.queued();
        let all = queued.len();
        let mut refused = 0;
        while !queued.is_empty() {
            let rest = queued.split_off(queued.len().min(PORTION));
            let portion = queued.len();
            let sent = timeout(limit, self.send_portion(connected, queued)).await;
            let sent = sent
                .unwrap_or_else(|_| Err(server::no_answer()))
                .map_err(|error| server::failed("send invalidations that had waited", error))?;
            refused += portion - sent.len();
            // Another server may have taken this one's place before it is noted, and been told what was known until then.
            if self.dead.load(Ordering::SeqCst) >= generation {
                return Err(server::failed(
                    "send invalidations that had waited",
                    server::no_answer(),
                ));
            }
            for Queued { what, .. } in &sent {
                what.with_target(|target| self.bus.peers.done_late(target));
            }
            let number = u64::try_from(sent.len()).unwrap_or(u64::MAX);
            self.counters.replays.fetch_add(number, Ordering::Relaxed);
            self.journal.sent(sent);
            queued = rest;
        }
        if refused < all {
            tracing::info!(number = all - refused, "sent invalidations that had waited");
        }
        if refused > 0 {
            self.permissions.doubt();
            self.journal.ring();
        }
        Ok(refused)
    }

    /// Sends invalidations, and returns those that took effect.
    ///
    /// One that is refused is no reason to go without a link, which other keys need: while a cluster
    /// migrates the slot, it refuses keys that are not on this node any more.
    async fn send_portion(
        &self,
        connected: &Connected,
        portion: Vec<Queued>,
    ) -> Result<Vec<Queued>, RedisError> {
        let mut pipeline = Pipeline::with_capacity(portion.len());
        pipeline.ignore_errors();
        let asked = self.bus.epochs.mark();
        let mut histories = Vec::with_capacity(portion.len());
        for Queued { what, .. } in &portion {
            let (invocation, history) = self.invalidation(connected, what);
            histories.push(history);
            pipeline.invoke_script(&invocation);
        }
        let mut data = connected.data.clone();
        let mut answers: Vec<Result<i64, RedisError>> = pipeline.query_async(&mut data).await?;
        if answers
            .iter()
            .any(|answer| code_in(answer) == Some("NOSCRIPT"))
        {
            self.scripts.load(&mut data).await?;
            answers = pipeline.query_async(&mut data).await?;
        }
        let mut sent = Vec::with_capacity(portion.len());
        for ((queued, history), answer) in portion.into_iter().zip(histories).zip(answers) {
            match answer {
                Ok(_) => {
                    if let Some(history) = history {
                        self.bus.epochs.adopt(history, asked);
                    }
                    sent.push(queued);
                }
                Err(error) if server::is_fatal(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(error = ?error, "the server refuses an invalidation for now");
                }
            }
        }
        Ok(sent)
    }

    /// Deletes the records and leases of a function that match, and has every instance forget what its memory has of the function.
    /// How many records there were. It is written down before the first is gone, so that one that ends half-way is known of too.
    ///
    /// All keys are looked at twice. A load that began before has a lease until it is filled: where the first look misses the one
    /// and the other, since they changed places under it, the second finds the record; what had its lease deleted is not filled.
    pub(crate) async fn sweep(
        &self,
        connected: &Connected,
        function: &FunctionKey,
        glob: &Glob,
    ) -> Result<u64, RedisError> {
        let prefix = self.keys.prefix_of(function);
        let mut data = connected.data.clone();
        if let Some(audit) = &self.settings.audit {
            let mut note = self.scripts.note.prepare_invoke();
            note.key(self.keys.audit())
                .arg(&audit.who)
                .arg(format!("{}:{glob}", function.versioned()))
                .arg(audit.most);
            let step = timeout(self.silence(), note.invoke_async(&mut data)).await;
            let _: i64 = step.unwrap_or_else(|_| Err(server::no_answer()))?;
        }
        let mut deleted = 0;
        for _ in 0..2 {
            let mut cursor: u64 = 0;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor)
                    .arg("MATCH")
                    .arg(escaped(&prefix) + "*")
                    .arg("COUNT")
                    .arg(PORTION * 2);
                let step = timeout(self.silence(), scan.query_async(&mut data)).await;
                let (next, names): (u64, Vec<String>) =
                    step.unwrap_or_else(|_| Err(server::no_answer()))?;
                let is_meant = |name: &&String| {
                    let rest = name.strip_prefix(&prefix);
                    rest.filter(|rest| !rest.ends_with(GUARDS) && !rest.ends_with(WAITS))
                        .is_some_and(|rest| glob.matches(rest.strip_suffix(LEASE).unwrap_or(rest)))
                };
                let meant = names.iter().filter(is_meant);
                let (leases, records): (Vec<&String>, Vec<&String>) =
                    meant.partition(|name| name.ends_with(LEASE));
                // Leases first: what is not filled any more need not be found again.
                self.unlink(&mut data, &leases).await?;
                deleted += self.unlink(&mut data, &records).await?;
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        let mut forget = self.scripts.forget.prepare_invoke();
        forget
            .key(self.keys.heartbeat())
            .key(self.keys.sequence())
            .arg(function.digest)
            .arg(self.keys.channel());
        let step = timeout(self.silence(), forget.invoke_async(&mut data)).await;
        let _: i64 = step.unwrap_or_else(|_| Err(server::no_answer()))?;
        Ok(deleted)
    }

    /// The functions of that version whose records are in the server, named `name` with types behind it.
    pub(crate) async fn instances(
        &self,
        connected: &Connected,
        name: &str,
        version: u32,
    ) -> Result<Vec<FunctionKey>, RedisError> {
        let begins = self.keys.instances_of(&FunctionKey::new(name, version));
        let mut data = connected.data.clone();
        let mut found = BTreeSet::new();
        let mut cursor: u64 = 0;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor)
                .arg("MATCH")
                .arg(format!("{}*:{version}:*", escaped(&begins)))
                .arg("COUNT")
                .arg(PORTION * 2);
            let step = timeout(self.silence(), scan.query_async(&mut data)).await;
            let (next, names): (u64, Vec<String>) =
                step.unwrap_or_else(|_| Err(server::no_answer()))?;
            found.extend(
                names
                    .iter()
                    .filter_map(|name| self.keys.function_of(name, version)),
            );
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let found = found.into_iter();
        Ok(found
            .map(|name| FunctionKey::found(name, version))
            .collect())
    }

    /// Deletes keys, and has the server free what they held beside its work. How many there were.
    async fn unlink(
        &self,
        data: &mut MultiplexedConnection,
        names: &[&String],
    ) -> Result<u64, RedisError> {
        if names.is_empty() {
            return Ok(0);
        }
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(names);
        let step = timeout(self.silence(), unlink.query_async(data)).await;
        step.unwrap_or_else(|_| Err(server::no_answer()))
    }

    fn guarding(&self, number: u64, key: &GuardedKey) -> ScriptInvocation<'_> {
        let mut invocation = self.scripts.guard.prepare_invoke();
        invocation
            .key(&key.record)
            .key(&key.lease)
            .key(&key.guards)
            .key(self.keys.sequence())
            .arg(number)
            .arg(millis(self.settings.lease_time))
            .arg(key.digest)
            .arg(self.keys.channel());
        invocation
    }

    /// Puts a guard in place.
    pub(crate) async fn guard(
        &self,
        connected: &Connected,
        generation: u64,
        number: u64,
        key: &GuardedKey,
    ) -> Result<(), RedisError> {
        let until = Instant::now() + self.settings.lease_time;
        let mut data = connected.data.clone();
        let is_new = self.guarding(number, key).invoke_async(&mut data).await?;
        self.guards.placed([(number, is_new)], generation, until);
        Ok(())
    }

    /// Lets all guards live on; over a new link they are put in place again.
    pub(crate) async fn keep_guards(
        &self,
        connected: &Connected,
        generation: u64,
    ) -> Result<(), RedisError> {
        if self.permissions.lacks(Purpose::WriteGuards) {
            return Ok(());
        }
        for portion in self.guards.held().chunks(PORTION) {
            // Not those that have ended meanwhile.
            let held = |(number, _): &&(u64, GuardedKey)| self.guards.holds(*number);
            let portion: Vec<_> = portion.iter().filter(held).collect();
            let mut pipeline = Pipeline::with_capacity(portion.len());
            for (number, key) in &portion {
                pipeline.invoke_script(&self.guarding(*number, key));
            }
            let until = Instant::now() + self.settings.lease_time;
            let are_new: Vec<bool> = self.exec(connected, &pipeline).await?;
            let numbers = portion.iter().map(|(number, _)| *number);
            self.guards.placed(numbers.zip(are_new), generation, until);
        }
        Ok(())
    }

    /// Ends guards. One whose end does not get through is over by itself.
    pub(crate) async fn end_guards(
        &self,
        connected: &Connected,
        generation: u64,
        ended: &[(u64, GuardedKey)],
    ) {
        // What its end is to invalidate comes first; else somebody could fill in between.
        let _ = self.drain(connected, generation).await;
        for portion in ended.chunks(PORTION) {
            let mut pipeline = Pipeline::with_capacity(portion.len());
            for (number, key) in portion {
                let mut invocation = self.scripts.unguard.prepare_invoke();
                invocation.key(&key.guards).arg(number);
                pipeline.invoke_script(&invocation).ignore();
            }
            let _: Result<(), RedisError> = self.exec(connected, &pipeline).await;
        }
    }

    /// Gives leases back. One that does not get through is over by itself.
    pub(crate) async fn give_back(&self, connected: &Connected, returned: &[Returned]) {
        for portion in returned.chunks(PORTION) {
            let mut pipeline = Pipeline::with_capacity(portion.len());
            for Returned { lease, load_failed } in portion {
                let mut invocation = self.scripts.release.prepare_invoke();
                invocation
                    .key(&lease.name)
                    .key(self.keys.sequence())
                    .arg(lease.token)
                    .arg(lease.digest)
                    .arg(if *load_failed { "x" } else { "r" })
                    .arg(self.keys.channel());
                pipeline.invoke_script(&invocation).ignore();
            }
            let _: Result<(), RedisError> = self.exec(connected, &pipeline).await;
        }
    }

    /// Lets leases live on. One that does not is over by itself, and its fill refused.
    pub(crate) async fn renew(&self, connected: &Connected) -> Result<(), RedisError> {
        for portion in self.leases.to_renew().chunks(PORTION) {
            let mut pipeline = Pipeline::with_capacity(portion.len());
            for lease in portion {
                let mut invocation = self.scripts.renew.prepare_invoke();
                invocation
                    .key(&lease.name)
                    .arg(lease.token)
                    .arg(millis(self.settings.lease_time));
                pipeline.invoke_script(&invocation).ignore();
            }
            let () = self.exec(connected, &pipeline).await?;
        }
        Ok(())
    }

    /// Writes to the server, because a primary that was replaced may still answer reads; reads its
    /// clock again, which may have been set; and checks the permissions if the server refused
    /// something.
    pub(crate) async fn heartbeat(&self, connected: &Connected) -> Result<(), RedisError> {
        let mut data = connected.data.clone();
        let mut clock = data.clone();
        let time = redis::cmd("TIME");
        // On one connection, and so in one round trip.
        let ((), time): ((), (u64, u64)) =
            tokio::try_join!(self.heartbeat_on(&mut data), time.query_async(&mut clock))?;
        self.set_clock(server::millis_of(time));
        let permitted = self.check_permissions_in_doubt(&mut data).await;
        // The next link is refused with the reason.
        permitted.map_err(|error| std::io::Error::other(error).into())
    }

    /// Writes to the server; one that is full is a primary all the same.
    pub(crate) async fn heartbeat_on(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), RedisError> {
        let written: Result<(), RedisError> = redis::cmd("SET")
            .arg(self.keys.heartbeat())
            .arg(1)
            .arg("PX")
            .arg(millis(HEARTBEAT * 10))
            .query_async(connection)
            .await;
        written.or_else(|error| match error.code() {
            Some("OOM") => Ok(()),
            _ => Err(error),
        })
    }

    /// How long an answer may be on its way, to what no call waits for, before the link is taken for dead.
    pub(crate) fn silence(&self) -> Duration {
        self.settings.staleness_bound.max(self.settings.time_limit) * 2
    }
}
