//! A proxy that changes what a server sends, or what it receives, for servers that cannot be had
//! for a test.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A text, and another one of the same length in its place.
pub(crate) type Replacement = (&'static str, &'static str);

/// The proxy, which ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Rewriter {
    port: u16,
    task: JoinHandle<()>,
}

impl Rewriter {
    /// Leads each connection to the next of the servers on these ports, and changes their replies.
    pub(crate) async fn start(ports: &[u16], replaced: &'static [Replacement]) -> Self {
        let replies = replaced.iter().map(|(before, after)| {
            let owned = |text: &str| text.as_bytes().to_vec();
            (owned(before), owned(after))
        });
        Self::lead_all(ports, Changes::default(), replies.collect()).await
    }

    /// Changes what the server on this port receives: each text, to another one of the same length.
    pub(crate) async fn of_requests(port: u16, before: &str, after: &str) -> Self {
        let change = (before.as_bytes().to_vec(), after.as_bytes().to_vec());
        Self::lead_all(&[port], vec![change], Changes::default()).await
    }

    async fn lead_all(ports: &[u16], requests: Changes, replies: Changes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ports = Arc::<[u16]>::from(ports);
        let (requests, replies) = (Arc::new(requests), Arc::new(replies));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                let port = ports[number % ports.len()];
                let (requests, replies) = (Arc::clone(&requests), Arc::clone(&replies));
                connections.spawn(lead(client, port, requests, replies));
            }
        });
        Self { port, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Rewriter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Texts of the same length, each with the one that takes its place.
type Changes = Vec<(Vec<u8>, Vec<u8>)>;

async fn lead(client: TcpStream, port: u16, requests: Arc<Changes>, replies: Arc<Changes>) {
    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let ended = tokio::select! {
        ended = forward(from_client, to_server, &requests) => ended,
        ended = forward(from_server, to_client, &replies) => ended,
    };
    drop(ended);
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    changes: &Changes,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 1 << 20];
    loop {
        let length = from.read(&mut bytes).await?;
        if length == 0 {
            return Ok(());
        }
        for (before, after) in changes {
            replace(&mut bytes[..length], before, after);
        }
        to.write_all(&bytes[..length]).await?;
    }
}

fn replace(bytes: &mut [u8], before: &[u8], after: &[u8]) {
    assert_eq!(before.len(), after.len());
    let mut at = 0;
    while at + before.len() <= bytes.len() {
        if bytes[at..].starts_with(before) {
            bytes[at..at + after.len()].copy_from_slice(after);
        }
        at += 1;
    }
}
