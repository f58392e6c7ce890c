//! A TCP proxy in front of a server: what a network does to connections, held in hand.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to bytes from now on, on all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// They pass.
    Fair,
    /// They pass so much later, in either direction.
    Delay(Duration),
    /// They are taken, and never arrive; new connections are made and hear nothing.
    BlackHole,
    /// Connections are cut, and new ones refused.
    Cut,
}

/// Ends with its connections when it is dropped.
pub(crate) struct Proxy {
    port: u16,
    weather: Arc<watch::Sender<Weather>>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("an address").port();
        let weather = Arc::new(watch::channel(Weather::Fair).0);
        let task = tokio::spawn(accept(listener, port, Arc::clone(&weather)));
        Self {
            port: own,
            weather,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, port: u16, weather: Arc<watch::Sender<Weather>>) {
    // Aborted with this task.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if *weather.borrow() == Weather::Cut {
            continue;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
            continue;
        };
        let (client_in, client_out) = client.into_split();
        let (server_in, server_out) = server.into_split();
        connections.spawn(carry(client_in, server_out, weather.subscribe()));
        connections.spawn(carry(server_in, client_out, weather.subscribe()));
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) {
    let (sender, mut under_way) =
        tokio::sync::mpsc::channel::<(tokio::time::Instant, Vec<u8>)>(1024);
    let mut changes = weather.clone();
    let arrive = async move {
        while let Some((at, bytes)) = under_way.recv().await {
            tokio::time::sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let leave = async move {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let now = *weather.borrow_and_update();
            let delay = match now {
                Weather::Fair => Duration::ZERO,
                Weather::Delay(delay) => delay,
                Weather::Cut => return,
                // Not read at all: what is sent meanwhile waits in the network, as behind a dead router.
                Weather::BlackHole => {
                    if weather.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
            };
            let read = tokio::select! {
                read = from.read(&mut buffer) => read,
                _ = weather.changed() => continue,
            };
            let (Ok(n), at) = (read, tokio::time::Instant::now() + delay) else {
                return;
            };
            if n == 0 || sender.send((at, buffer[..n].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let cut = async move {
        while *changes.borrow_and_update() != Weather::Cut {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = async { tokio::join!(leave, arrive); } => {}
        () = cut => {}
    }
}
