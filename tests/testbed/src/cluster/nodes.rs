//! The nodes and their views of each other: the first configuration, and replies to
//! `CLUSTER NODES`.

use std::fmt::Write;

use super::hash::SLOTS;
use super::options::Options;
use crate::server::{Role, Server, free_ports};

/// A node that is to be started.
struct Planned {
    id: String,
    port: u16,
    bus: u16,
}

impl Planned {
    fn new(index: usize, ports: &[u16]) -> Self {
        let [port, bus] = [ports[0], ports[1]];
        Self {
            // Forty hexadecimal digits, of which no two nodes of this machine have the same.
            id: format!("{:08x}{port:016x}{index:016x}", std::process::id()),
            port,
            bus,
        }
    }
}

/// Creates the directories of the nodes of a cluster, each with a configuration in which it knows
/// the others, so that they need not meet.
pub(super) fn prepare(options: &Options) -> Vec<Server> {
    let number = options.primaries * 2;
    let ports = free_ports(number * 2);
    let planned: Vec<_> = ports
        .chunks(2)
        .enumerate()
        .map(|(index, ports)| Planned::new(index, ports))
        .collect();
    let nodes = planned.iter().enumerate().map(|(own, node)| {
        let server = prepare_node(options, node);
        let file = server.directory().join("nodes.conf");
        let text = configuration(&planned, own, knows_shards(&options.binary));
        std::fs::write(file, text).expect("a configuration file");
        server
    });
    nodes.collect()
}

fn prepare_node(options: &Options, node: &Planned) -> Server {
    let is_for_a_test = options.is_for_a_test;
    let mut server = Server::prepare(&options.binary, Role::Data, node.port, is_for_a_test);
    let bus = node.bus.to_string();
    let node_timeout = options.node_timeout.as_millis().to_string();
    let mut arguments = vec![
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--cluster-node-timeout",
        &node_timeout,
        // Slots of other primaries are served while one cannot be reached.
        "--cluster-require-full-coverage",
        "no",
        // A replica takes over however long it was without its primary, and stays with it.
        "--cluster-replica-validity-factor",
        "0",
        "--cluster-allow-replica-migration",
        "no",
        "--repl-diskless-sync-delay",
        "0",
    ];
    arguments.extend(options.arguments.iter().map(String::as_str));
    server.set_arguments(&arguments);
    server
}

/// Returns `true` if the nodes have an id of their shard. A node of Valkey makes one up if its
/// configuration has none, and until it has learned that of its primary, a script on the primary
/// that publishes can end the server (assertion in `clusterPropagatePublish`, Valkey 9.1.2).
fn knows_shards(binary: &str) -> bool {
    let output = std::process::Command::new(binary).arg("--version").output();
    output.is_ok_and(|output| output.stdout.starts_with(b"Valkey"))
}

/// Returns the file `nodes.conf` of node `own`, with the ids of shards if `with_shards`.
fn configuration(nodes: &[Planned], own: usize, with_shards: bool) -> String {
    let primaries = nodes.len() / 2;
    let mut text = String::new();
    for (index, node) in nodes.iter().enumerate() {
        let myself = if index == own { "myself," } else { "" };
        let (role, primary) = match index.checked_sub(primaries) {
            None => ("master", "-"),
            Some(primary) => ("slave", nodes[primary].id.as_str()),
        };
        let epoch = index % primaries + 1;
        let Planned { id, port, bus } = node;
        let shard = match with_shards {
            true => format!(",,shard-id={}", nodes[index % primaries].id),
            false => String::new(),
        };
        let address = format!("127.0.0.1:{port}@{bus}{shard}");
        let slots = slots_of(index, primaries);
        let _ = writeln!(
            text,
            "{id} {address} {myself}{role} {primary} 0 0 {epoch} connected{slots}"
        );
    }
    text + &format!("vars currentEpoch {primaries} lastVoteEpoch 0\n")
}

/// Returns the slots of a node, as its line in the configuration has them.
fn slots_of(index: usize, primaries: usize) -> String {
    let from = |primary: usize| usize::from(SLOTS) * primary / primaries;
    if index < primaries {
        format!(" {}-{}", from(index), from(index + 1) - 1)
    } else {
        String::new()
    }
}

/// The view that one node has of all nodes, by the indexes of the test.
#[derive(Clone, Debug)]
pub struct View {
    /// Index of the primary of each slot.
    owners: Vec<Option<usize>>,
    /// Indexes of each replica and of its primary.
    replicas: Vec<(usize, usize)>,
    ids: Vec<String>,
    /// Indexes of the nodes to which there is no connection, or which are considered to be failing.
    unreachable: Vec<usize>,
}

impl View {
    /// Parses a reply to `CLUSTER NODES`.
    pub(super) fn parse(text: &str, nodes: &[Server]) -> Self {
        let mut view = Self {
            owners: vec![None; usize::from(SLOTS)],
            replicas: Vec::new(),
            ids: vec![String::new(); nodes.len()],
            unreachable: Vec::new(),
        };
        let mut primaries = Vec::new();
        for line in text.lines() {
            let fields: Vec<_> = line.split(' ').collect();
            let [id, address, flags, primary, _, _, _, link, slots @ ..] = &fields[..] else {
                continue;
            };
            let port = address.split('@').next().and_then(|address| {
                let (_, port) = address.rsplit_once(':')?;
                port.parse::<u16>().ok()
            });
            let Some(index) = nodes.iter().position(|node| Some(node.port()) == port) else {
                continue;
            };
            if flags.contains("fail") || *link != "connected" {
                view.unreachable.push(index);
            }
            (*id).clone_into(&mut view.ids[index]);
            primaries.push((index, (*primary).to_owned()));
            // A slot in migration is shown in brackets besides.
            for slots in slots.iter().filter(|slots| !slots.starts_with('[')) {
                let (from, to) = slots.split_once('-').unwrap_or((slots, slots));
                let (Ok(from), Ok(to)) = (from.parse::<usize>(), to.parse::<usize>()) else {
                    continue;
                };
                view.owners[from..=to].fill(Some(index));
            }
        }
        for (index, primary) in primaries {
            if let Some(primary) = view.ids.iter().position(|id| *id == primary) {
                view.replicas.push((index, primary));
            }
        }
        view
    }

    /// Index of the primary of a slot.
    #[must_use]
    pub fn owner_of(&self, slot: u16) -> Option<usize> {
        self.owners[usize::from(slot)]
    }

    /// Indexes of the primaries of all slots. `None`: a slot has no primary.
    #[must_use]
    pub fn owners(&self) -> Option<Vec<usize>> {
        self.owners.iter().copied().collect()
    }

    /// Indexes of the replicas of a primary.
    pub fn replicas_of(&self, primary: usize) -> impl Iterator<Item = usize> {
        let replicas = self.replicas.iter();
        replicas.filter_map(move |(replica, of)| (*of == primary).then_some(*replica))
    }

    /// Indexes of the nodes to which there is no connection, or which are considered to be failing.
    #[must_use]
    pub fn unreachable(&self) -> &[usize] {
        &self.unreachable
    }

    /// The id of a node.
    pub(super) fn id(&self, node: usize) -> &str {
        &self.ids[node]
    }
}
