//! The instances, and the server that they share.

use std::io;
use std::path::Path;
use std::str::FromStr;

use testbed::server::Server;

use super::functions::HotFunction;
use super::measured::Measured;
use super::source::SourceState;
use crate::child::ControlledChild;

/// Number of instances.
pub(super) const INSTANCES: usize = 4;

/// Counts of the sources of all instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bodies {
    /// Bodies that began while the source was up.
    pub(super) up: u64,
    /// Bodies that began while the source was down.
    pub(super) down: u64,
    /// Bodies that began while the source hung.
    pub(super) hung: u64,
    /// Bodies that were dropped before they ended.
    pub(super) dropped: u64,
    /// Signs of life of bodies that never end.
    pub(super) ticks: u64,
}

/// Loads of one function in all instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loads {
    /// Bodies that ran for a call, which waited for them.
    pub(super) in_foreground: u64,
    /// Calls that waited for the load of another call in the same instance.
    pub(super) waits: u64,
    /// Loads of any function that run now.
    pub(super) under_way: u64,
}

/// The instances, and the server that they share. All of them end when this is dropped.
#[derive(Debug)]
pub(super) struct Cluster {
    // Before the server, so that the instances end first.
    instances: Vec<ControlledChild>,
    _server: Server,
}

impl Cluster {
    /// Starts a server by the program at `server`, and instances by `program`, the one of this
    /// package.
    pub(super) async fn start(program: &Path, server: &str) -> io::Result<Self> {
        let server = Server::start_binary(server, &[]);
        let mut instances = Vec::new();
        let arguments = ["windows-instance".to_owned(), server.socket_url()];
        for _ in 0..INSTANCES {
            instances.push(ControlledChild::start(program, &arguments).await?);
        }
        Ok(Self {
            instances,
            _server: server,
        })
    }

    /// Sends a command to all instances at once, and returns their replies.
    async fn request(&mut self, command: &str) -> io::Result<Vec<String>> {
        for instance in &mut self.instances {
            instance.send(command).await?;
        }
        let mut replies = Vec::new();
        for instance in &mut self.instances {
            replies.push(instance.reply().await?);
        }
        Ok(replies)
    }

    /// Calls a function in one instance after the other, so that only the first one loads.
    pub(super) async fn call_in_turn(&mut self, function: HotFunction) -> io::Result<()> {
        for instance in &mut self.instances {
            instance.send(&format!("call {function}")).await?;
            instance.reply().await?;
        }
        Ok(())
    }

    /// Sets the state of the source in all instances.
    pub(super) async fn set_source(&mut self, state: SourceState) -> io::Result<()> {
        self.request(&format!("source {state}")).await.map(drop)
    }

    /// Lets the callers of all instances begin to call a function.
    pub(super) async fn work(&mut self, function: HotFunction) -> io::Result<()> {
        self.request(&format!("work {function}")).await.map(drop)
    }

    /// Ends the work, and returns what all callers got.
    pub(super) async fn rest(&mut self) -> io::Result<Measured> {
        self.measured("rest").await
    }

    /// Makes concurrent calls of a function in all instances at once.
    pub(super) async fn wave(&mut self, function: HotFunction, n: usize) -> io::Result<Measured> {
        self.measured(&format!("wave {function} {n}")).await
    }

    async fn measured(&mut self, command: &str) -> io::Result<Measured> {
        let mut sum = Measured::default();
        for reply in self.request(command).await? {
            sum.add(&parsed::<Measured>(&reply)?);
        }
        Ok(sum)
    }

    /// Returns the counts of all sources.
    pub(super) async fn bodies(&mut self) -> io::Result<Bodies> {
        let [up, down, hung, dropped, ticks] = self.sums("bodies").await?;
        Ok(Bodies {
            up,
            down,
            hung,
            dropped,
            ticks,
        })
    }

    /// Returns the loads of a function that every instance has called.
    pub(super) async fn loads(&mut self, function: HotFunction) -> io::Result<Loads> {
        let [loads, refreshes, waits, under_way] = self.sums(&format!("loads {function}")).await?;
        Ok(Loads {
            in_foreground: loads - refreshes,
            waits,
            under_way,
        })
    }

    /// Adds up the numbers that the instances reply.
    async fn sums<const N: usize>(&mut self, command: &str) -> io::Result<[u64; N]> {
        let mut sums = [0; N];
        for reply in self.request(command).await? {
            let mut numbers = reply.split(' ');
            for sum in &mut sums {
                *sum += parsed::<u64>(numbers.next().unwrap_or_default())?;
            }
        }
        Ok(sums)
    }

    /// Shuts all instances down.
    pub(super) async fn stop(mut self) -> io::Result<()> {
        for instance in &mut self.instances {
            instance.stop().await?;
        }
        Ok(())
    }
}

fn parsed<T: FromStr>(text: &str) -> io::Result<T> {
    let error = |_| io::Error::other(format!("an instance replied `{text}`"));
    text.parse().map_err(error)
}
