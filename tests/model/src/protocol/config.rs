//! Limits of a search, and the guards of the protocol.

/// Ticks for which a primary without its replicas is used unnoticed: its lag limit and a heartbeat.
pub(super) const UNNOTICED: u8 = 1;

pub(super) const INSTANCES: usize = 2;
pub(super) const KEYS: usize = 2;

/// Limits of a search: how many of each event may happen, and which guards are in place.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// Number of keys.
    pub keys: u8,
    /// Number of changes of the truth.
    pub writes: u8,
    /// Targets that an invalidation may have.
    pub targets: &'static [Target],
    /// Number of links that may break.
    pub breaks: u8,
    /// Number of primaries that may be lost, with the writes that their replica lacks.
    pub failovers: u8,
    /// `true` if a lost primary continues to run with its links, without its replica.
    pub old_primary_lives: bool,
    /// Number of control keys that the server may evict. Messages have numbers only if there are
    /// any.
    pub evictions: u8,
    /// `true` if leases may expire and loads may be dropped.
    pub given_up: bool,
    /// Instances that are called. The others only invalidate.
    pub calls: &'static [u8],
    /// Set if values become stale and loads fail.
    pub windows: Option<Windows>,
    /// Ticks that another instance may lag behind.
    pub bound: u8,
    /// Number of ticks.
    pub time: u8,
    /// Guards of the protocol.
    pub guards: Guards,
}

/// Use of values that are past their ttl. The time of each copy passes at any moment.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// `true` if a stale value is returned at once while a load in the background replaces it, and
    /// if a load continues in the background after its caller was answered.
    pub revalidates: bool,
    /// `true` if a stale value is returned in place of a failed load.
    pub if_error: bool,
    /// `true` if calls join the loads of other calls.
    pub joins: bool,
    /// `true` if memory answers while the server is not reachable.
    pub serves_isolated: bool,
    /// `true` if calls are made that share a lease, and calls whose lease replaces another one.
    pub other_modes: bool,
}

/// Guards of the protocol. All are in place, except for the one that a search removes.
#[derive(Clone, Copy, Debug)]
pub struct Guards {
    /// A fill needs a lease, which an invalidation voids.
    pub lease: bool,
    /// Memory returns only values that were loaded since the fence.
    pub fence: bool,
    /// The instance that invalidates raises its fence again after the reply of the server.
    pub second_fence: bool,
    /// Memory returns values only while a barrier is valid.
    pub barrier: bool,
    /// A barrier is valid from when it was sent, and not from when the reply arrived.
    pub barrier_from_sent: bool,
    /// Messages that were sent before a reply are read before it.
    pub ordered_channel: bool,
    /// Deletion and message are one step.
    pub one_script: bool,
    /// A new link raises all fences.
    pub fence_on_attach: bool,
    /// Another server means a new history, and records carry theirs.
    pub history: bool,
    /// A lease is valid only on the link on which it was granted.
    pub lease_on_link: bool,
    /// Records carry the epoch of their function.
    pub epoch: bool,
    /// A message removes the known epoch.
    pub epoch_forgotten: bool,
    /// Writes are tried regularly, so that a primary without its replica is noticed.
    pub heartbeat: bool,
    /// Only an instance that received all messages restores an evicted control key.
    pub restored_if_all_received: bool,
    /// A missing sequence restarts, and nothing else is restored in that step: without the sequence
    /// the server cannot tell which instance received all messages.
    pub sequence_restored_alone: bool,
    /// A sequence restarts above every number that it ever had, and a message says so. Otherwise it
    /// continues from the last number that its caller received, which an old restoration can match.
    pub sequence_begins_above: bool,
    /// The fence is checked when a stale value is returned, and not only when it was found.
    pub stale_fence: bool,
    /// A stale value needs the same coherence as a fresh one.
    pub stale_coherence: bool,
    /// A waiter checks the stale value itself, when it returns it.
    pub waiter_checks: bool,
    /// A load in the background needs a lease.
    pub refresh_leased: bool,
    /// A lease for a caller that has a value is refused while another caller holds one.
    pub one_refresh: bool,
    /// A back-off is no lease: no caller shares it, and no value is filled under it.
    pub back_off_is_no_lease: bool,
    /// A value is kept under the number that its load began with.
    pub number_of_load: bool,
    /// A load is joined only if no fence was raised since it began.
    pub join_current: bool,
}

impl Guards {
    /// All guards are in place.
    pub const ALL: Self = Self {
        lease: true,
        fence: true,
        second_fence: true,
        barrier: true,
        barrier_from_sent: true,
        ordered_channel: true,
        one_script: true,
        fence_on_attach: true,
        history: true,
        lease_on_link: true,
        epoch: true,
        epoch_forgotten: true,
        heartbeat: true,
        restored_if_all_received: true,
        sequence_restored_alone: true,
        sequence_begins_above: true,
        stale_fence: true,
        stale_coherence: true,
        waiter_checks: true,
        refresh_leased: true,
        one_refresh: true,
        back_off_is_no_lease: true,
        number_of_load: true,
        join_current: true,
    };
}

/// Target of an invalidation.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The key whose truth changed.
    Key,
    /// The function.
    Function,
    /// The namespace, which begins a new history.
    Namespace,
}
