//! Keeps what this instance holds at the server: guards, leases, and the proof that the server
//! takes writes.

use std::time::Duration;

use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::time::Instant;

use crate::commands::guard::{EndGuard, GuardedKey, PlaceGuard};
use crate::commands::release::{Reason, Release};
use crate::commands::renew::Renew;
use crate::commands::{self, PORTION};
use crate::leases::Returned;
use crate::link::{Connected, Shared};
use crate::number::millis;
use crate::permissions::Purpose;
use crate::server;

/// The period of the writes that prove that the server takes writes: a primary that was replaced
/// may still answer reads.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

impl Shared {
    fn placement<'a>(&self, number: u64, key: &'a GuardedKey) -> PlaceGuard<'a> {
        PlaceGuard {
            key,
            number,
            life: self.settings.lease_time,
        }
    }

    /// Places a guard.
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

    /// Renews all guards. Over a new link, this places them again.
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

    /// Ends guards. One that the server does not hear of expires by itself.
    pub(crate) async fn end_guards(
        &self,
        connected: &Connected,
        generation: u64,
        ended: &[(u64, GuardedKey)],
    ) {
        // Invalidate first: otherwise another caller could store a record between the two.
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

    /// Releases leases. One that the server does not hear of expires by itself.
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

    /// Renews leases. One that is not renewed expires, and its fill is refused.
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

    /// Writes to the server. A refusal because it is full still proves that it is a primary.
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

    /// The time after which a link is lost if a request that no call waits for has no reply.
    pub(crate) fn silence(&self) -> Duration {
        self.settings.staleness_bound.max(self.settings.time_limit) * 2
    }
}
