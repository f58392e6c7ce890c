//! The network between one instance and all servers that it uses, which the test controls.

use std::net::Ipv4Addr;

use crate::proxy::{End, NetworkFault, Proxy};

/// A proxy in front of each server, with one fault for all. It ends when this value is dropped.
#[derive(Debug)]
pub struct Network {
    host: Ipv4Addr,
    proxies: Vec<Proxy>,
}

impl Network {
    /// Creates a network to the one server on this port.
    pub async fn to(port: u16) -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST,
            proxies: vec![Proxy::to(port).await],
        }
    }

    /// Creates a network to the servers on these ports, which name each other's addresses to the
    /// instance. The proxies have a host of their own, with the ports of the servers.
    ///
    /// # Panics
    /// If eight networks to these servers exist already.
    pub async fn around(ports: &[u16]) -> Self {
        // Hosts that are as long as that of the servers, as text.
        for last in 2..10 {
            let host = Ipv4Addr::new(127, 0, 0, last);
            let mut proxies = Vec::new();
            for port in ports {
                match Proxy::at(host, *port).await {
                    Ok(proxy) => proxies.push(proxy),
                    Err(_) => break,
                }
            }
            if proxies.len() == ports.len() {
                return Self { host, proxies };
            }
        }
        panic!("no host has these ports free: {ports:?}");
    }

    /// Addresses of the servers in this network, as `host:port`.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let address = |proxy: &Proxy| format!("{}:{}", self.host, proxy.port());
        self.proxies.iter().map(address).collect()
    }

    /// Addresses of the servers in this network, for a Redis client.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let addresses = self.addresses().into_iter();
        addresses
            .map(|address| format!("redis://{address}"))
            .collect()
    }

    /// The proxies, in the order of the servers.
    #[must_use]
    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// Lets new connections to the first server lead to the one on this port.
    pub fn repoint(&self, port: u16) {
        self.proxies[0].repoint(port);
    }

    /// Changes what happens to bytes, on all connections.
    pub fn set(&self, network_fault: NetworkFault) {
        for proxy in &self.proxies {
            proxy.set(network_fault);
        }
    }

    /// Ends the current connections, and returns their number.
    pub fn end(&self, end: End) -> usize {
        self.proxies.iter().map(|proxy| proxy.end(end)).sum()
    }

    /// Leaves the current connections half open, and returns their number.
    pub fn strand(&self) -> usize {
        self.proxies.iter().map(Proxy::strand).sum()
    }

    /// Number of current connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.proxies.iter().map(Proxy::connections).sum()
    }
}
