use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::timeout;

use super::*;

/// A store whose attempts to connect have the results that a test gives.
struct FakeStore {
    session: Arc<Session<u64>>,
    results: VecDeque<Result<(), Error>>,
    retry: Retry,
}

impl FakeStore {
    fn new(results: impl IntoIterator<Item = Result<(), Error>>) -> Self {
        Self {
            session: Arc::new(Session::new(3)),
            results: results.into_iter().collect(),
            retry: Retry::AfterPause,
        }
    }
}

impl Connector for FakeStore {
    type Connection = u64;

    fn session(&self) -> &Session<u64> {
        &self.session
    }

    fn store(&self) -> &'static str {
        "the fake store"
    }

    fn address(&self) -> String {
        "nowhere".into()
    }

    async fn connect(&mut self, number: u64) -> Result<u64, Error> {
        match self.results.pop_front() {
            Some(result) => result.map(|()| number),
            None => std::future::pending().await,
        }
    }

    async fn keep(&mut self, _: &u64, number: u64) {
        while !self.session.is_lost(number) {
            self.session.lost().await;
        }
    }

    fn lose(&self, number: u64) {
        self.session.lose(number, || {});
    }

    fn connect_failed(&mut self, _: &Error) -> Retry {
        self.retry
    }
}

fn refused() -> Result<(), Error> {
    Err(Error::new(ErrorKind::Unavailable, "refused"))
}

/// Waits until the current connection has this number.
async fn until_connected(session: &Session<u64>, number: u64) {
    let connected = async {
        while session.number() != number {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let connected = timeout(Duration::from_secs(60), connected).await;
    connected.unwrap_or_else(|_| panic!("no connection {number}: {session:?}"));
}

/// Waits until the task has dropped its connector.
async fn until_ended(session: &Arc<Session<u64>>) {
    let ended = async {
        while Arc::strong_count(session) > 1 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let ended = timeout(Duration::from_secs(60), ended).await;
    ended.expect("the task has dropped its connector");
}

#[tokio::test(start_paused = true)]
async fn supervisor_connects_again_after_failures_and_after_a_loss() {
    let store = FakeStore::new([refused(), refused(), Ok(()), Ok(())]);
    let session = Arc::clone(&store.session);
    let supervisor = Supervisor::default();
    let first = supervisor.start(store).await;
    assert!(
        first.is_err(),
        "start returns the result of the first attempt"
    );
    let error = session.require(|| "read".into()).unwrap_err();
    assert!(format!("{error:?}").contains("refused"), "{error:?}");
    until_connected(&session, 3).await;
    session.lose(3, || {});
    until_connected(&session, 4).await;
}

#[tokio::test(start_paused = true)]
async fn redirected_connector_connects_at_once_and_reports_no_failure() {
    let store = FakeStore {
        retry: Retry::AtOnce,
        ..FakeStore::new([refused(), Ok(())])
    };
    let session = Arc::clone(&store.session);
    let began = Instant::now();
    Supervisor::default().start(store).await.unwrap();
    assert_eq!(session.number(), 2);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn supervisor_ends_when_the_session_is_closed() {
    let store = FakeStore::new([Ok(()), Ok(())]);
    let session = Arc::clone(&store.session);
    let supervisor = Supervisor::default();
    supervisor.start(store).await.unwrap();
    session.close();
    until_ended(&session).await;
}

#[tokio::test(start_paused = true)]
async fn supervisor_that_cannot_connect_ends_when_the_session_is_closed() {
    let store = FakeStore::new(std::iter::repeat_with(refused).take(10_000));
    let session = Arc::clone(&store.session);
    let supervisor = Supervisor::default();
    supervisor.start(store).await.unwrap_err();
    session.close();
    until_ended(&session).await;
}

#[tokio::test(start_paused = true)]
async fn dropped_supervisor_aborts_its_task() {
    let store = FakeStore::new([Ok(())]);
    let session = Arc::clone(&store.session);
    let supervisor = Supervisor::default();
    supervisor.start(store).await.unwrap();
    drop(supervisor);
    until_ended(&session).await;
}
