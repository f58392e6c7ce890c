//! Makes the link, keeps it, and makes it again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_memcached::Client;
use cache_core::tier::RecordKey;
use cache_core::{Error, ErrorKind};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::commands::{self, Message};
use crate::link::{Link, OwnedTarget, Shared, Steps, failed};

/// Between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Connects, keeps the link until it is lost, connects again. Ends when it is aborted.
pub(crate) async fn supervise(
    shared: Arc<Shared>,
    first: watch::Sender<Option<Result<(), Error>>>,
) {
    let mut generation = 0;
    let mut pause = FIRST_PAUSE;
    let mut outage = false;
    let mut identity = None;
    loop {
        generation += 1;
        shared.is_probing.store(true, Ordering::Relaxed);
        // Aborted with this future, or when the link is over.
        let mut workers = JoinSet::new();
        let made = make(&shared, generation, &mut workers, &mut identity).await;
        shared.is_probing.store(false, Ordering::Relaxed);
        match made {
            Ok((link, last)) => {
                let link = Arc::new(link);
                if !shared.put(&link) {
                    return;
                }
                if outage {
                    tracing::info!(address = shared.config.shown(), "memcached is back");
                }
                shared.last_error.note(None);
                (outage, pause) = (false, FIRST_PAUSE);
                first.send_replace(Some(Ok(())));
                let since = Instant::now();
                tokio::select! {
                    () = keep(&shared, &link, last) => {}
                    // A connection is lost.
                    _ = workers.join_next() => {}
                }
                shared.lose(generation);
                if shared.is_closed() {
                    return;
                }
                tracing::info!(lasted = ?since.elapsed(), "the link to memcached is over; making another");
                if since.elapsed() < LONGEST_PAUSE {
                    sleep(pause).await;
                }
            }
            Err(error) => {
                shared.coherence.revoke();
                if outage {
                    tracing::debug!(error = ?error, "memcached is still away");
                } else {
                    tracing::warn!(
                        address = shared.config.shown(),
                        error = ?error,
                        "memcached cannot be used; going on without it until it can"
                    );
                }
                outage = true;
                shared.last_error.note(Some(error.clone()));
                first.send_if_modified(|first| {
                    let is_first = first.is_none();
                    first.get_or_insert(Err(error));
                    is_first
                });
                // Half to one and a half of it, so that instances do not come back all at once.
                sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// A link that can be used: what was owed is paid, and all that was invalidated is known. With the number of the last invalidation.
async fn make(
    shared: &Arc<Shared>,
    generation: u64,
    workers: &mut JoinSet<()>,
    identity: &mut Option<u64>,
) -> Result<(Link, u64), Error> {
    let limit = shared.config.connect_limit;
    let opened = timeout(limit, open(shared)).await;
    let (clients, process) = opened.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::TimedOut,
            format!("connect to memcached within {} ms", limit.as_millis()),
        ))
    })?;
    let (link, work) = Link::new(generation, clients, shared.silence());
    for work in work {
        workers.spawn(work);
    }
    if identity
        .replace(process)
        .is_some_and(|before| before != process)
    {
        shared
            .counters
            .history_changes
            .fetch_add(1, Ordering::Relaxed);
    }
    // What was not heard of until then is over now; what comes after it is heard.
    let last = hear(shared, &link, None).await?;
    pay(shared, &link).await?;
    for (number, key) in shared.guards.held() {
        guard(shared, &link, number, &key).await?;
    }
    let last = hear(shared, &link, Some(last)).await?;
    Ok((link, last))
}

/// Connections, all to one process.
async fn open(shared: &Shared) -> Result<(Vec<Client>, u64), Error> {
    let address = shared.config.address().unwrap_or_default();
    let mut clients = Vec::new();
    let mut process = 0;
    for _ in 0..shared.config.connections {
        let mut client = Client::new(&address)
            .await
            .map_err(|error| failed("connect to memcached", error))?;
        let this = commands::identity(&mut client, &shared.keys)
            .await
            .map_err(|error| match failed("ask memcached which process it is", error) {
                error if error.kind() == ErrorKind::Protocol => Error::with_source(
                    ErrorKind::Protocol,
                    "use what answers there: it does not speak the protocol of memcached 1.6",
                    error,
                ),
                error => error,
            })?
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Protocol,
                    "use this memcached: it was started with `-C`, and without CAS numbers there are no leases",
                )
            })?;
        if !clients.is_empty() && this != process {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "use this address: two connections to it led to two servers",
            ));
        }
        process = this;
        clients.push(client);
    }
    Ok((clients, process))
}

/// Asks once what others invalidated, and does it here; that is a barrier. The number of the last.
async fn hear(shared: &Arc<Shared>, link: &Link, last: Option<u64>) -> Result<u64, Error> {
    let barrier = shared.coherence.barrier();
    let keys = shared.keys.clone();
    let heard = on(link, "ask what was invalidated", move |client| {
        Box::pin(async move { commands::hear(client, &keys, last).await })
    })
    .await?;
    match heard.messages {
        Some(messages) => {
            for message in messages {
                match message {
                    Message::Key(digest) => shared.peers.invalidated_key(digest),
                    Message::Function(digest) => shared.peers.invalidated_function(digest),
                    Message::All => shared.peers.invalidated_all(),
                }
            }
        }
        None => {
            if last.is_some() {
                shared.counters.gaps.fetch_add(1, Ordering::Relaxed);
            }
            shared.peers.invalidated_all();
        }
    }
    if last.is_some() {
        shared.coherence.proved(barrier);
    }
    Ok(heard.last)
}

/// Tells the server all that is owed.
async fn pay(shared: &Arc<Shared>, link: &Link) -> Result<(), Error> {
    let batch = shared.owed.batch();
    if batch.is_empty() {
        return Ok(());
    }
    tracing::info!("telling memcached of invalidations that had waited");
    for target in batch.targets() {
        let target = OwnedTarget::of(target);
        let keys = shared.keys.clone();
        let told = target.clone();
        on(
            link,
            "send an invalidation that had waited",
            move |client| {
                Box::pin(async move { commands::invalidate(client, &keys, told.borrow()).await })
            },
        )
        .await?;
        shared.peers.done_late(target.borrow());
        shared.counters.replays.fetch_add(1, Ordering::Relaxed);
    }
    shared.owed.batch_done(&batch);
    shared.paid.notify_waiters();
    Ok(())
}

/// Asks four times within the bound what was invalidated; lets leases and guards live on. Ends when an answer does not come.
async fn keep(shared: &Arc<Shared>, link: &Arc<Link>, mut last: u64) {
    let every = |period: Duration| {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let mut questions = every(shared.config.staleness_bound / 4);
    let mut renewals = every(shared.config.lease_time / 3);
    // Aborted with this future.
    let mut renewing = JoinSet::new();
    // What was owed while the link was made.
    shared.rung.notify_one();
    // Given up by an operation, perhaps while this waited for an answer.
    while shared.is_there(link.generation) {
        tokio::select! {
            () = shared.rung.notified() => {
                if pay(shared, link).await.is_err() {
                    return;
                }
            }
            () = shared.lost.notified() => {}
            _ = questions.tick() => match hear(shared, link, Some(last)).await {
                Ok(now) => last = now,
                Err(error) => {
                    tracing::warn!(error = ?error, "the link to memcached cannot be trusted any more; making another");
                    return;
                }
            },
            _ = renewals.tick() => {
                if renewing.is_empty() {
                    let (shared, link) = (Arc::clone(shared), Arc::clone(link));
                    renewing.spawn(async move { renew(&shared, &link).await });
                }
            }
            Some(_) = renewing.join_next() => {}
        }
    }
}

/// What does not get through ends by itself.
async fn renew(shared: &Arc<Shared>, link: &Link) {
    let life = shared.config.lease_time;
    for held in shared.leases.to_renew(link.generation) {
        let kept = on(link, "renew a lease", move |client| {
            Box::pin(async move {
                commands::keep_lease(client, &held.names.record, held.cas, life).await
            })
        });
        if kept.await.is_err() {
            return;
        }
    }
    for (number, key) in shared.guards.held() {
        if shared.guards.holds(number) && guard(shared, link, number, &key).await.is_err() {
            return;
        }
    }
}

/// Puts a guard in place, or lets it live on.
pub(crate) async fn guard(
    shared: &Arc<Shared>,
    link: &Link,
    number: u64,
    key: &RecordKey,
) -> Result<(), Error> {
    let until = Instant::now() + shared.config.lease_time;
    let (record, life) = (shared.keys.record(key), shared.config.lease_time);
    let (told, keys) = (key.clone(), shared.keys.clone());
    let is_new = on(link, "guard a key", move |client| {
        Box::pin(async move {
            let is_new = commands::guard(client, &record, number, life).await?;
            if is_new {
                // Whatever was taken or filled before it was there is void.
                let target = cache_core::tier::Target::Key(&told);
                commands::invalidate(client, &keys, target).await?;
            }
            Ok(is_new)
        })
    })
    .await?;
    if is_new {
        tracing::debug!("a write guard is in place");
    }
    shared.guards.placed(number, until);
    Ok(())
}

async fn on<T: Send + 'static>(
    link: &Link,
    what: &'static str,
    operation: impl for<'a> FnOnce(&'a mut Client) -> Steps<'a, T> + Send + 'static,
) -> Result<T, Error> {
    let done = match link.begin(operation) {
        Some(answer) => answer.await.ok(),
        None => None,
    };
    match done {
        Some(done) => done.map_err(|error| failed(what, error)),
        None => Err(Error::new(
            ErrorKind::Unavailable,
            format!("{what}: no answer from memcached"),
        )),
    }
}
