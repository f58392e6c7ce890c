//! A TCP proxy in front of a server, through which a test causes network faults.

use std::io;
use std::net::Ipv4Addr;
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
    /// Host that replaces [`SERVER_HOST`] in everything that the server sends.
    host: Option<Ipv4Addr>,
}

/// Host of all servers.
const SERVER_HOST: &str = "127.0.0.1";

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
        let listener = TcpListener::bind((SERVER_HOST, 0)).await;
        Self::accept(listener.expect("a free port"), port, None)
    }

    /// Creates a proxy at this host, in front of the server on the same port. In what the server
    /// sends, the host replaces that of the server, so that a client finds other servers by
    /// proxies at this host too. Both hosts have the same length as text.
    ///
    /// # Errors
    /// Another socket has the address.
    pub(crate) async fn at(host: Ipv4Addr, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((host, port)).await?;
        Ok(Self::accept(listener, port, Some(host)))
    }

    fn accept(listener: TcpListener, server: u16, host: Option<Ipv4Addr>) -> Self {
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            server: AtomicU16::new(server),
            network_fault: watch::Sender::new(NetworkFault::Fair),
            connections: Mutex::default(),
            host,
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { port, shared, task }
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
        let Ok(server) = TcpStream::connect((SERVER_HOST, port)).await else {
            continue;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let fate = watch::Sender::new(Fate::Alive);
        let own = fate.subscribe();
        shared.connections().push(fate);
        let way = Way {
            network_fault: shared.network_fault.subscribe(),
            fate: own,
            answers: false,
            host: shared.host.map(|host| host.to_string().into_bytes()),
        };
        connections.spawn(connection(client, server, way));
    }
}

async fn connection(client: TcpStream, server: TcpStream, up: Way) {
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let (mut ends, mut cut) = (up.fate.clone(), up.network_fault.clone());
    let end = {
        let down = Way {
            answers: true,
            ..up.clone()
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
#[derive(Clone)]
struct Way {
    network_fault: watch::Receiver<NetworkFault>,
    fate: watch::Receiver<Fate>,
    answers: bool,
    host: Option<Vec<u8>>,
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
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(_) => return,
                };
                let delay = match network_fault {
                    NetworkFault::Delay(delay) => delay,
                    _ => Duration::ZERO,
                };
                let bytes = match &self.host {
                    Some(host) if self.answers => with_host(&buffer[..n], host),
                    _ => buffer[..n].to_vec(),
                };
                let parcel = (Instant::now() + delay, network_fault, bytes);
                if sender.send(parcel).await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(leave, arrive);
    }
}

/// Replaces the host of servers by another one. The reply of a server that names hosts is short, so
/// it is read as one piece.
fn with_host(bytes: &[u8], host: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let servers = SERVER_HOST.as_bytes();
    let ends = bytes.len().saturating_sub(servers.len() - 1);
    for at in 0..ends {
        if bytes[at..].starts_with(servers) {
            bytes[at..at + host.len()].copy_from_slice(host);
        }
    }
    bytes
}

async fn deliver(to: &OwnedWriteHalf, network_fault: NetworkFault, bytes: &[u8]) -> io::Result<()> {
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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
