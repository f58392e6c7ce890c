//! A proxy that changes what a server sends, for servers that cannot be had for a test.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    /// Leads each connection to the next of the servers on these ports.
    pub(crate) async fn start(ports: &[u16], replaced: &'static [Replacement]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ports = Arc::<[u16]>::from(ports);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                let port = ports[number % ports.len()];
                connections.spawn(lead(client, port, replaced));
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

async fn lead(client: TcpStream, port: u16, replaced: &'static [Replacement]) {
    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async {
        tokio::io::copy(&mut from_client, &mut to_server)
            .await
            .map(drop)
    };
    let back = async {
        let mut bytes = vec![0; 1 << 20];
        loop {
            let length = from_server.read(&mut bytes).await?;
            if length == 0 {
                return Ok(());
            }
            for (before, after) in replaced {
                replace(&mut bytes[..length], before.as_bytes(), after.as_bytes());
            }
            to_client.write_all(&bytes[..length]).await?;
        }
    };
    let ended: std::io::Result<()> =
        tokio::select! { ended = there => ended, ended = back => ended };
    drop(ended);
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
