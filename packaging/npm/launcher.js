#!/usr/bin/env node
// Starts the executable of llamapool that npm has installed beside this package, and is to whoever started it what the
// executable is: the same streams, signals, exit code.
'use strict';

const { spawn } = require('node:child_process');
const { readFileSync } = require('node:fs');
const { constants } = require('node:os');

const launcher = require('../package.json');

// The exit code of a failure before the executable runs.
const FAILURE = 1;

// Between two looks at the parent.
const PARENT_WATCH_MS = 500;

function fail(text) {
  console.error(`llamapool: ${text}`);
  process.exit(FAILURE);
}

// A program for glibc does not start where there is none, as in Alpine.
function hasGlibc() {
  return Boolean(process.report.getReport().header.glibcVersionRuntime);
}

function executable() {
  const platform = `${process.platform}-${process.arch}`;
  const name = `@llamapool/${platform}`;
  if (!(name in launcher.optionalDependencies)) {
    const known = Object.keys(launcher.optionalDependencies).map((it) => it.split('/')[1]).join(', ');
    fail(`there is no package for ${platform}, only for ${known}: build it with cargo, see ${launcher.homepage}`);
  }
  if (process.platform === 'linux' && !hasGlibc()) {
    fail(`the package for ${platform} needs glibc, and this system has none: see ${launcher.homepage}`);
  }
  const file = process.platform === 'win32' ? 'llamapool.exe' : 'llamapool';
  try {
    return require.resolve(`${name}/bin/${file}`);
  } catch {
    return fail(`the package ${name} ${launcher.version} is not installed: install llamapool again, and with optional dependencies`);
  }
}

// Whether a terminal sends Ctrl-C to the executable as well, because it is in the foreground there. A second one would mean
// "end now".
function isInForeground() {
  try {
    const fields = readFileSync('/proc/self/stat', 'latin1').split(') ').pop().split(' ');
    const [, , group, , , foreground] = fields;
    return group === foreground;
  } catch {
    return Boolean(process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY);
  }
}

const child = spawn(executable(), process.argv.slice(2), { stdio: 'inherit' });

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']) {
  const ofTerminal = signal === 'SIGINT' || signal === 'SIGQUIT';
  try {
    process.on(signal, () => {
      if (!(ofTerminal && isInForeground())) child.kill(signal);
    });
  } catch {
    // This system does not have the signal.
  }
}

// npm runs this through a shell, which ends by a signal to npm and passes none on. Without that parent nobody waits here any more.
if (process.env.npm_command === 'exec') {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    child.kill('SIGTERM');
  }, PARENT_WATCH_MS);
}

child.on('error', (error) => fail(`the executable does not start: ${error.message}`));
child.on('exit', (code, signal) => {
  if (signal === null) process.exit(code);
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  // The signal is one that does not end this process.
  process.exitCode = 128 + constants.signals[signal];
});
