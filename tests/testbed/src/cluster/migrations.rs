//! Slots that migrate from one primary to another.

use std::time::Duration;

use super::Cluster;
use crate::ask::ask_within;
use crate::until_ok;

/// Longest time of a step that moves keys.
const LONGEST_MOVE: Duration = Duration::from_secs(5);

impl Cluster {
    /// Begins to migrate a slot to another primary. Until [`end_migration`](Self::end_migration),
    /// the first one refuses requests for keys that it does not have.
    pub async fn begin_migration(&self, slot: u16, to: usize) {
        let from = self.primary_of_slot(slot).await;
        let view = self.any_view().await;
        let slot = slot.to_string();
        self.step(
            to,
            &["CLUSTER", "SETSLOT", &slot, "IMPORTING", view.id(from)],
        )
        .await;
        self.step(
            from,
            &["CLUSTER", "SETSLOT", &slot, "MIGRATING", view.id(to)],
        )
        .await;
    }

    /// Moves the keys of a slot whose migration has begun, and makes `to` its primary.
    pub async fn end_migration(&self, slot: u16, to: usize) {
        let from = self.primary_of_slot(slot).await;
        let view = self.any_view().await;
        let text = slot.to_string();
        let own = ["CLUSTER", "SETSLOT", &text, "NODE", view.id(to)];
        self.move_keys(slot, from, to).await;
        self.step(to, &own).await;
        until_ok("the slot has another primary", async || {
            // Keys may have been written since.
            self.move_keys(slot, from, to).await;
            self.command(from, &own).await
        })
        .await;
        for node in self.primaries().await {
            if node != from && node != to {
                self.step(node, &own).await;
            }
        }
        self.until_owned(slot, to).await;
    }

    /// Migrates a slot with its keys to another primary, key by key, as Redis does.
    pub async fn migrate(&self, slot: u16, to: usize) {
        self.begin_migration(slot, to).await;
        self.end_migration(slot, to).await;
    }

    /// Migrates a slot with its keys to another primary in one step, as only Valkey 9 does.
    pub async fn migrate_in_one_step(&self, slot: u16, to: usize) {
        let from = self.primary_of_slot(slot).await;
        let view = self.any_view().await;
        let slot_text = slot.to_string();
        let range = ["SLOTSRANGE", &slot_text, &slot_text];
        let migrate = [
            &["CLUSTER", "MIGRATESLOTS"][..],
            &range,
            &["NODE", view.id(to)],
        ]
        .concat();
        self.step(from, &migrate).await;
        self.until_owned(slot, to).await;
    }

    async fn step(&self, node: usize, command: &[&str]) {
        let what = command.join(" ");
        until_ok(&what, async || self.command(node, command).await).await;
    }

    async fn move_keys(&self, slot: u16, from: usize, to: usize) {
        let port = self.node(to).port().to_string();
        let slot = slot.to_string();
        until_ok("the keys of the slot are moved", async || {
            let get = ["CLUSTER", "GETKEYSINSLOT", &slot, "100"];
            let keys: Vec<String> = self
                .ask(from, &get)
                .await
                .map_err(|error| error.to_string())?;
            if keys.is_empty() {
                return Ok(());
            }
            let mut migrate = vec![
                "MIGRATE",
                "127.0.0.1",
                &port,
                "",
                "0",
                "5000",
                "REPLACE",
                "KEYS",
            ];
            migrate.extend(keys.iter().map(String::as_str));
            let moved = ask_within::<String>(LONGEST_MOVE, self.node(from).port(), &migrate).await;
            let moved = moved.map_err(|error| error.to_string())?;
            Err(format!("{moved}: {} keys", keys.len()))
        })
        .await;
    }
}
