//! Instances of a run, with the networks through which they reach Redis.

use std::io;
use std::time::Duration;

use testbed::network::Network;
use testbed::proxy::NetworkFault;
use tokio::sync::{Mutex, RwLock};
use tokio::time::{sleep, timeout};

use crate::counts::Counts;
use crate::process::Process;

/// Instances of a run, with the networks through which they reach Redis.
#[derive(Debug)]
pub struct Fleet {
    /// The instances.
    pub instances: Vec<Mutex<Process>>,
    /// The network of each instance.
    pub networks: Vec<Network>,
    /// Number of faults of each kind.
    pub faults: Counts,
    /// Held for reading while a fault of the network or of an instance lasts, and for writing while
    /// there must be none.
    pub gate: RwLock<()>,
    /// Number of connections that were closed while an instance used them, under `killed`.
    pub connections: Counts,
}

impl Fleet {
    /// Counts connections that were closed while an instance used them.
    pub fn count_killed(&self, connections: usize) {
        self.connections.add("killed", connections);
    }

    /// Sets the same fault in all networks.
    pub fn set(&self, network_fault: NetworkFault) {
        for network in &self.networks {
            network.set(network_fault);
        }
    }

    /// Returns the number of open connections of all instances.
    pub fn connected(&self) -> usize {
        self.networks.iter().map(Network::connections).sum()
    }

    /// Sends a command without a reply to all instances.
    ///
    /// # Errors
    /// An instance has ended.
    pub async fn send(&self, command: &str) -> io::Result<()> {
        for instance in &self.instances {
            instance.lock().await.send(command).await?;
        }
        Ok(())
    }

    /// Sends a command to one instance after the other, and waits for each reply.
    ///
    /// # Errors
    /// An instance has ended or does not reply.
    pub async fn request(&self, command: &str) -> io::Result<()> {
        for instance in &self.instances {
            instance.lock().await.request(command).await?;
        }
        Ok(())
    }

    /// Sends a command to all instances at once, and waits for all replies.
    ///
    /// # Errors
    /// An instance has ended or does not reply.
    pub async fn request_at_once(&self, command: &str) -> io::Result<()> {
        self.send(command).await?;
        for instance in &self.instances {
            instance.lock().await.reply().await?;
        }
        Ok(())
    }

    /// Waits until all instances are coherent.
    ///
    /// # Errors
    /// An instance has ended, or this takes more than a minute.
    pub async fn until_coherent(&self) -> io::Result<()> {
        let all = async {
            for instance in &self.instances {
                while !instance.lock().await.is_coherent().await? {
                    sleep(Duration::from_millis(10)).await;
                }
            }
            Ok(())
        };
        timeout(Duration::from_secs(60), all)
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the instances do not become coherent")))
    }
}
