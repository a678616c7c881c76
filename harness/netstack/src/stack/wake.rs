//! The sockets whose waiters must look again: each once, in the order in which they changed.

use std::collections::VecDeque;

use halfopen_core::Index;

use crate::socket::SocketId;

#[derive(Debug, Default)]
pub(super) struct WakeQueue {
    order: VecDeque<SocketId>,
    queued: Index<SocketId, ()>,
}

impl WakeQueue {
    pub fn push(&mut self, socket: SocketId) {
        if self.queued.insert(socket, ()).is_none() {
            self.order.push_back(socket);
        }
    }

    pub fn pop(&mut self) -> Option<SocketId> {
        let socket = self.order.pop_front()?;
        assert!(self.queued.remove(&socket).is_some(), "{socket:?} is in one half of the wake queue only");
        Some(socket)
    }

    pub fn clear(&mut self) {
        self.order.clear();
        self.queued.clear();
    }
}
