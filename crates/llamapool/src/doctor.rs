//! `llamapool doctor`: looks at what a server, a relay or a worker would meet at its start, and at a server
//! from outside, as its clients do.

mod answer;
mod call;
mod check;
mod command;
mod examination;
mod guess;
mod https;
mod network;
mod origin;
mod plain;
mod preparation;
mod recorder;
mod relay;
mod report;
mod role;
mod server;
mod sign_in;
mod tls;
mod walk;

pub use check::table as table_of_checks;
pub use command::{ConnectCommand, Diagnosis, DoctorCommand};
pub(crate) use command::{DOCTOR, command, read, with_role};
pub(crate) use guess::with_role as with_guessed_role;
pub(crate) use https::local_json;
pub(crate) use recorder::Recorder;
pub use role::RoleDoctor;
pub(crate) use role::{OF_REPORT, ROLES, command_of};
