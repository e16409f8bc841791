//! The generator as its users run it: the program itself, against a real standalone node and against
//! servers that lie. Each exit status is shown to be reachable, for its reason alone.

mod generator;
mod honesty;
mod liar;
mod lies;
mod node;
mod runs;
