//! The place of a request among those that are sent together.

use std::fmt;
use std::mem;
use std::sync::Mutex;

use cache_core::tier::FillResult;
use cache_core::tier::kit::lock;
use redis::RedisError;
use tokio::sync::{mpsc, oneshot};

use super::request::{LeaseReply, LeaseRequest, Read, Request, Sender, StrongRead};
use crate::commands::fill::FilledKey;
use crate::commands::invalidate::InvalidatedKey;
use crate::commands::read::ReadReply;
use crate::errors;

/// A place for a request, which takes it at once.
#[derive(Debug)]
pub(crate) struct Place<'a>(Queue<'a>);

/// Where requests wait that are sent together.
#[derive(Debug)]
enum Queue<'a> {
    /// In the queue of the link, with those of other calls.
    OfLink(mpsc::Permit<'a, Request>),
    /// With those of other keys of the same call.
    Together(&'a Asked),
}

/// The requests of one call.
#[derive(Default)]
pub(super) struct Asked(Mutex<Vec<Request>>);

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({})", lock(&self.0).len())
    }
}

impl Asked {
    fn add(&self, request: Request) {
        lock(&self.0).push(request);
    }

    /// Takes the requests since the last call.
    pub(super) fn take(&self) -> Vec<Request> {
        mem::take(&mut lock(&self.0))
    }
}

impl<'a> Place<'a> {
    pub(super) fn of_link(permit: mpsc::Permit<'a, Request>) -> Self {
        Self(Queue::OfLink(permit))
    }

    pub(super) fn together(asked: &'a Asked) -> Self {
        Self(Queue::Together(asked))
    }

    pub(crate) async fn read(self, read: Read) -> Result<Option<Vec<u8>>, RedisError> {
        self.ask(|reply| Request::Read(read, reply)).await
    }

    pub(crate) async fn strong_read(self, read: StrongRead) -> Result<ReadReply, RedisError> {
        self.ask(|reply| Request::StrongRead(read, reply)).await
    }

    pub(crate) async fn lease(self, lease: LeaseRequest) -> Result<LeaseReply, RedisError> {
        self.ask(|reply| Request::Lease(lease, reply)).await
    }

    pub(crate) async fn fill(self, filled: FilledKey) -> Result<FillResult, RedisError> {
        self.ask(|reply| Request::Fill(filled, reply)).await
    }

    pub(crate) async fn invalidate(self, key: InvalidatedKey) -> Result<(), RedisError> {
        self.ask(|reply| Request::Invalidate(key, reply)).await
    }

    pub(super) async fn ask<T>(
        self,
        request: impl FnOnce(Sender<T>) -> Request,
    ) -> Result<T, RedisError> {
        let (sender, reply) = oneshot::channel();
        let request = request(sender);
        match self.0 {
            Queue::OfLink(permit) => {
                permit.send(request);
            }
            Queue::Together(asked) => asked.add(request),
        }
        // Without a reply, the task has ended with its link.
        reply.await.unwrap_or_else(|_| Err(errors::link_ended()))
    }
}
