//! What is sent over a link beside the calls: invalidations, leases that are renewed or given back, heartbeats, barriers.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::{FunctionKey, Glob};
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, timeout};

use crate::commands::forget::Forget;
use crate::commands::guard::{EndGuard, GuardedKey, PlaceGuard};
use crate::commands::invalidate::Invalidate;
use crate::commands::note::Note;
use crate::commands::release::{Reason, Release};
use crate::commands::renew::Renew;
use crate::commands::{self, PORTION};
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

impl Shared {
    /// Sends one invalidation, which may begin a new history.
    pub(crate) async fn send(
        &self,
        connected: &Connected,
        what: &Invalidated,
    ) -> Result<(), RedisError> {
        let asked = self.bus.epochs.mark();
        let command = self.invalidation(connected, what);
        let history = command.new_history();
        commands::send(&mut connected.data.clone(), &self.keys, command).await?;
        if let Some(history) = history {
            self.bus.epochs.adopt(history, asked);
        }
        Ok(())
    }

    fn invalidation<'a>(
        &'a self,
        connected: &'a Connected,
        target: &'a Invalidated,
    ) -> Invalidate<'a> {
        Invalidate {
            target,
            fresh: fresh_number(),
            identity: &connected.identity,
            audit: self.settings.audit.as_ref(),
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
        let asked = self.bus.epochs.mark();
        let invalidations: Vec<_> = portion
            .iter()
            .map(|Queued { what, .. }| self.invalidation(connected, what))
            .collect();
        let histories: Vec<_> = invalidations.iter().map(Invalidate::new_history).collect();
        let mut data = connected.data.clone();
        let answers = commands::send_each(&mut data, &self.keys, invalidations).await?;
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
            let what = format!("{}:{glob}", function.versioned());
            let note = commands::send(&mut data, &self.keys, Note { audit, what });
            let step = timeout(self.silence(), note).await;
            step.unwrap_or_else(|_| Err(server::no_answer()))?;
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
        let forget = commands::send(&mut data, &self.keys, Forget { function });
        let step = timeout(self.silence(), forget).await;
        step.unwrap_or_else(|_| Err(server::no_answer()))?;
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

    fn placement<'a>(&self, number: u64, key: &'a GuardedKey) -> PlaceGuard<'a> {
        PlaceGuard {
            key,
            number,
            life: self.settings.lease_time,
        }
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
        let placement = self.placement(number, key);
        let placement = commands::send(&mut data, &self.keys, placement).await?;
        self.guards.placed([(number, placement)], generation, until);
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
            // Without those that have ended meanwhile.
            let held = |(number, _): &&(u64, GuardedKey)| self.guards.holds(*number);
            let portion: Vec<_> = portion.iter().filter(held).collect();
            let until = Instant::now() + self.settings.lease_time;
            let renewals = portion
                .iter()
                .map(|(number, key)| self.placement(*number, key));
            let mut data = connected.data.clone();
            let placements = commands::send_all(&mut data, &self.keys, renewals).await?;
            let numbers = portion.iter().map(|(number, _)| *number);
            self.guards
                .placed(numbers.zip(placements), generation, until);
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
            let ends = portion.iter().map(|(number, key)| EndGuard {
                key,
                number: *number,
            });
            let mut data = connected.data.clone();
            let _ = commands::send_all(&mut data, &self.keys, ends).await;
        }
    }

    /// Gives leases back. One that does not get through is over by itself.
    pub(crate) async fn give_back(&self, connected: &Connected, returned: &[Returned]) {
        for portion in returned.chunks(PORTION) {
            let releases = portion
                .iter()
                .map(|Returned { lease, load_failed }| Release {
                    lease: &lease.name,
                    token: lease.token,
                    digest: lease.digest,
                    reason: match load_failed {
                        true => Reason::LoadFailed,
                        false => Reason::NotFilled,
                    },
                });
            let mut data = connected.data.clone();
            let _ = commands::send_all(&mut data, &self.keys, releases).await;
        }
    }

    /// Lets leases live on. One that does not is over by itself, and its fill refused.
    pub(crate) async fn renew(&self, connected: &Connected) -> Result<(), RedisError> {
        for portion in self.leases.to_renew().chunks(PORTION) {
            let renewals = portion.iter().map(|lease| Renew {
                lease: &lease.name,
                token: lease.token,
                life: self.settings.lease_time,
            });
            let mut data = connected.data.clone();
            commands::send_all(&mut data, &self.keys, renewals).await?;
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
