//! wasmi 2.0, an interpreter for WebAssembly, used as its usage guide recommends. A module is
//! translated once, with the profile that the guide asks for (`codegen-units = 1`; dispatch by tail
//! calls, which is the default in a release build). There is no fuel; typed functions are looked up
//! once; instances are reused. A rule is an instance that gets its parameters once; its code is
//! `guests/plain`.

use std::path::Path;

use hailer::communication::Communication;
use hailer_peers_purchase::Rule;
use wasmi::{Engine, Linker, Memory, Module, Store, TypedFunc};

use super::{Contender, module};
use crate::compose::send_answer;
use crate::messages::{BRAND, Message};
use crate::workload::Workload;

pub(super) struct Wasmi<'a> {
    workload: &'a Workload,
    guests: Vec<Guest>,
}

struct Guest {
    store: Store<()>,
    memory: Memory,
    room: TypedFunc<u32, u32>,
    decide: TypedFunc<(), u64>,
}

impl<'a> Wasmi<'a> {
    pub(super) fn new(workload: &'a Workload, modules: &Path) -> Wasmi<'a> {
        let engine = Engine::default();
        let module = Module::new(&engine, module(modules, "hailer_peers_plain.wasm")).unwrap();
        let guest = |rule: &crate::workload::Rule| Guest::new(&engine, &module, rule);
        Wasmi { workload, guests: workload.rules.iter().map(guest).collect() }
    }
}

impl Guest {
    fn new(engine: &Engine, module: &Module, rule: &crate::workload::Rule) -> Guest {
        let mut store = Store::new(engine, ());
        let instance = Linker::new(engine).instantiate_and_start(&mut store, module).unwrap();
        let memory = instance.get_memory(&store, "memory").unwrap();
        let room = instance.get_typed_func(&store, "room").unwrap();
        let decide = instance.get_typed_func(&store, "decide").unwrap();
        let configure: TypedFunc<(), u32> = instance.get_typed_func(&store, "configure").unwrap();
        let mut guest = Guest { store, memory, room, decide };
        let rule = Rule { threshold: rule.threshold.into(), brand: BRAND.to_owned() };
        guest.put(&serde_json::to_vec(&rule).unwrap());
        assert_eq!(configure.call(&mut guest.store, ()).unwrap(), 1);
        guest
    }

    fn put(&mut self, input: &[u8]) {
        let at = self.room.call(&mut self.store, input.len() as u32).unwrap();
        self.memory.write(&mut self.store, at as usize, input).unwrap();
    }

    fn decide(&mut self, event: &[u8]) -> &[u8] {
        self.put(event);
        let answer = self.decide.call(&mut self.store, ()).unwrap();
        let (at, bytes) = ((answer >> 32) as usize, answer as u32 as usize);
        &self.memory.data(&self.store)[at..at + bytes]
    }
}

impl Contender for Wasmi<'_> {
    fn name(&self) -> &'static str {
        "wasmi"
    }

    fn decide(&mut self, messages: &[Message], sent: &mut Vec<Communication>) {
        for message in messages {
            for (guest, rule) in self.guests.iter_mut().zip(&self.workload.rules) {
                let answer = guest.decide(&message.body);
                if !answer.is_empty() {
                    sent.push(send_answer(message, rule, answer));
                }
            }
        }
    }
}
