//! Every state that a small system can reach, breadth first: the shortest way to a broken rule is the one that is told.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::rc::Rc;

/// A system of few states, made of the machines that are judged and a network that does whatever a network may.
pub(crate) trait Model {
    /// Everything there is.
    type State: Clone + Eq + Hash + Debug;
    /// Something that may happen.
    type Step: Copy + Debug;

    /// Where it begins.
    fn start(&self) -> Self::State;

    /// What may happen next.
    fn steps(&self, state: &Self::State, out: &mut Vec<Self::Step>);

    /// What comes of it, or which rule it breaks.
    fn take(&self, state: &Self::State, step: Self::Step) -> Result<Self::State, String>;

    /// Whether everything that was wanted has happened. It must stay possible from everywhere.
    fn is_done(&self, state: &Self::State) -> bool;
}

/// How much was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Explored {
    /// States.
    pub(crate) states: usize,
    /// Those in which everything is done.
    pub(crate) done: usize,
}

struct Search<'a, M: Model> {
    model: &'a M,
    numbers: HashMap<Rc<M::State>, u32>,
    states: Vec<Rc<M::State>>,
    /// How each state was first reached.
    ways: Vec<Option<(u32, M::Step)>>,
    /// Steps, by the state they lead to.
    before: Vec<Vec<u32>>,
}

/// Visits every reachable state.
///
/// # Panics
/// With the shortest way there, if a step breaks a rule, or if a state is a dead end: nothing that may still happen leads
/// to the end. Also beyond `states_max` states.
pub(crate) fn explore<M: Model>(model: &M, states_max: usize) -> Explored {
    let mut search =
        Search { model, numbers: HashMap::new(), states: Vec::new(), ways: Vec::new(), before: Vec::new() };
    search.visit(model.start(), None);
    let mut at = 0;
    let mut steps = Vec::new();
    while at < search.states.len() {
        assert!(search.states.len() <= states_max, "more than {states_max} states: make the model smaller");
        let state = Rc::clone(&search.states[at]);
        model.steps(&state, &mut steps);
        for step in steps.drain(..) {
            match model.take(&state, step) {
                Ok(next) => search.visit(next, Some((at as u32, step))),
                Err(problem) => panic!("{problem}\n{}then {step:?}\n", search.way_to(at as u32)),
            }
        }
        at += 1;
    }
    search.judge()
}

impl<M: Model> Search<'_, M> {
    fn visit(&mut self, state: M::State, way: Option<(u32, M::Step)>) {
        let next = self.states.len() as u32;
        let number = match self.numbers.get(&state) {
            Some(&known) => known,
            None => {
                let state = Rc::new(state);
                self.numbers.insert(Rc::clone(&state), next);
                self.states.push(state);
                self.ways.push(way);
                self.before.push(Vec::new());
                next
            }
        };
        if let Some((from, _)) = way {
            self.before[number as usize].push(from);
        }
    }

    /// From every state the end can be reached.
    fn judge(&self) -> Explored {
        let mut good = vec![false; self.states.len()];
        let mut open: Vec<u32> = Vec::new();
        for (number, _) in self.states.iter().enumerate().filter(|(_, state)| self.model.is_done(state)) {
            good[number] = true;
            open.push(number as u32);
        }
        let done = open.len();
        while let Some(number) = open.pop() {
            for &from in &self.before[number as usize] {
                if !std::mem::replace(&mut good[from as usize], true) {
                    open.push(from);
                }
            }
        }
        if let Some(stuck) = good.iter().position(|good| !good) {
            panic!("a dead end: {:#?}\n{}", self.states[stuck], self.way_to(stuck as u32));
        }
        Explored { states: self.states.len(), done }
    }

    fn way_to(&self, mut number: u32) -> String {
        let mut steps = Vec::new();
        while let Some((from, step)) = self.ways[number as usize] {
            steps.push(format!("  {step:?}\n"));
            number = from;
        }
        steps.reverse();
        steps.concat()
    }
}
