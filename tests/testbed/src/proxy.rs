//! A TCP proxy in front of a server, through which a test causes network faults.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// The fault that the network has from now on, for the bytes of all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkFault {
    /// Bytes pass.
    Fair,
    /// Bytes are delayed by this time, in either direction.
    Delay(Duration),
    /// This many bytes per second pass, in either direction.
    Throttle(u32),
    /// Bytes pass in pieces of this size, each in a segment of its own.
    Slices(usize),
    /// Bytes are accepted and never delivered. New connections are made and get no bytes.
    BlackHole,
    /// Bytes of the client are delivered, and bytes of the server are not.
    Deaf,
    /// Connections are cut, and new ones refused.
    Cut,
}

/// How the proxy ends connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// By an orderly close.
    Close,
    /// By a reset.
    Reset,
}

/// State of one connection, which applies under every network fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Alive,
    /// The connection stays open and no byte passes.
    Stranded,
    Ended(End),
}

/// A proxy, which ends with its connections when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// Port of the server to which new connections lead.
    server: AtomicU16,
    network_fault: watch::Sender<NetworkFault>,
    connections: Mutex<Vec<watch::Sender<Fate>>>,
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, Vec<watch::Sender<Fate>>> {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.retain(|fate| fate.receiver_count() > 0);
        connections
    }
}

impl Proxy {
    /// Creates a proxy in front of the server on this port.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            server: AtomicU16::new(port),
            network_fault: watch::Sender::new(NetworkFault::Fair),
            connections: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            port: own,
            shared,
            task,
        }
    }

    /// Address for a Redis client.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Port of the proxy.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what happens to bytes, on all connections.
    pub fn set(&self, network_fault: NetworkFault) {
        self.shared.network_fault.send_replace(network_fault);
    }

    /// Lets new connections lead to the server on another port.
    pub fn repoint(&self, port: u16) {
        self.shared.server.store(port, Ordering::SeqCst);
    }

    /// Ends the current connections, and returns their number.
    pub fn end(&self, end: End) -> usize {
        self.decide(Fate::Ended(end))
    }

    /// Leaves the current connections half open, and returns their number: no byte passes any more,
    /// and neither side gets an error.
    pub fn strand(&self) -> usize {
        self.decide(Fate::Stranded)
    }

    fn decide(&self, decided: Fate) -> usize {
        let connections = self.shared.connections();
        let changed = connections
            .iter()
            .filter(|fate| fate.send_replace(decided) == Fate::Alive);
        changed.count()
    }

    /// Number of current connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections().len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropping the set aborts the connections, so they end with this task.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if *shared.network_fault.borrow() == NetworkFault::Cut {
            continue;
        }
        let port = shared.server.load(Ordering::SeqCst);
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
            continue;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let fate = watch::Sender::new(Fate::Alive);
        let own = fate.subscribe();
        shared.connections().push(fate);
        connections.spawn(connection(
            client,
            server,
            shared.network_fault.subscribe(),
            own,
        ));
    }
}

async fn connection(
    client: TcpStream,
    server: TcpStream,
    network_fault: watch::Receiver<NetworkFault>,
    fate: watch::Receiver<Fate>,
) {
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let (mut ends, mut cut) = (fate.clone(), network_fault.clone());
    let end = {
        let up = Way {
            network_fault: network_fault.clone(),
            fate: fate.clone(),
            answers: false,
        };
        let down = Way {
            network_fault,
            fate,
            answers: true,
        };
        tokio::select! {
            () = up.carry(&client_in, &server_out) => End::Close,
            () = down.carry(&server_in, &client_out) => End::Close,
            Ok(fate) = ends.wait_for(|fate| matches!(fate, Fate::Ended(_))) => match *fate {
                Fate::Ended(end) => end,
                _ => End::Close,
            },
            Ok(_) = cut.wait_for(|network_fault| *network_fault == NetworkFault::Cut) => End::Close,
        }
    };
    if end == End::Reset {
        let _ = client_in.as_ref().set_zero_linger();
        let _ = server_in.as_ref().set_zero_linger();
    }
}

/// One direction of a connection.
struct Way {
    network_fault: watch::Receiver<NetworkFault>,
    fate: watch::Receiver<Fate>,
    answers: bool,
}

impl Way {
    async fn carry(mut self, from: &OwnedReadHalf, to: &OwnedWriteHalf) {
        let (sender, mut under_way) = mpsc::channel::<(Instant, NetworkFault, Vec<u8>)>(64);
        let arrive = async move {
            while let Some((at, network_fault, bytes)) = under_way.recv().await {
                sleep_until(at).await;
                if deliver(to, network_fault, &bytes).await.is_err() {
                    return;
                }
            }
        };
        let leave = async move {
            let mut buffer = vec![0; 16 << 10];
            loop {
                let network_fault = *self.network_fault.borrow_and_update();
                let stopped = *self.fate.borrow_and_update() != Fate::Alive
                    || network_fault == NetworkFault::BlackHole
                    || (network_fault == NetworkFault::Deaf && self.answers);
                let read = tokio::select! {
                    // Bytes that are not read stay in the network, as behind a router that is down.
                    ready = from.readable(), if !stopped => ready.and_then(|()| from.try_read(&mut buffer)),
                    Ok(()) = self.network_fault.changed() => continue,
                    Ok(()) = self.fate.changed() => continue,
                    else => return,
                };
                let n = match read {
                    Ok(0) => return,
                    Ok(n) => n,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                    Err(_) => return,
                };
                let delay = match network_fault {
                    NetworkFault::Delay(delay) => delay,
                    _ => Duration::ZERO,
                };
                let parcel = (Instant::now() + delay, network_fault, buffer[..n].to_vec());
                if sender.send(parcel).await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(leave, arrive);
    }
}

async fn deliver(
    to: &OwnedWriteHalf,
    network_fault: NetworkFault,
    bytes: &[u8],
) -> std::io::Result<()> {
    let piece = match network_fault {
        NetworkFault::Slices(piece) => piece.max(1),
        NetworkFault::Throttle(_) => 64,
        _ => bytes.len(),
    };
    for bytes in bytes.chunks(piece) {
        if let NetworkFault::Throttle(rate) = network_fault {
            sleep(Duration::from_secs_f64(
                bytes.len() as f64 / f64::from(rate.max(1)),
            ))
            .await;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            to.writable().await?;
            match to.try_write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
