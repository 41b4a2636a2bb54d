// run.mjs LIBRARY IMAGE: boots a raw flash image on an emulated RP2040 (LIBRARY is where npm has put rp2040js) and joins its
// first serial port to standard input and output.
import fs from 'node:fs';
import path from 'node:path';
import { randomInt } from 'node:crypto';
import { createRequire } from 'node:module';

const [library, imagePath] = process.argv.slice(2);
const { Simulator } = createRequire(path.resolve(library, 'index.js'))('rp2040js');
const simulator = new Simulator();
const chip = simulator.rp2040;
const image = fs.readFileSync(imagePath);
const CLOCK_HZ = 125e6;
const SURVIVES_RESET = 0x20041ffc;
const SLICE_CYCLES = CLOCK_HZ / 1000;

chip.flash.fill(0xff);
chip.flash.set(image, 0);
// There is no boot ROM: what it and the second stage do.
chip.core.VTOR = 0x10000000;
chip.core.SP = image.readUInt32LE(0);
chip.core.PC = image.readUInt32LE(4) & ~1;
chip.writeUint32(SURVIVES_RESET, randomInt(1, 2 ** 32 - 1));

let said = [];
const heard = [];
chip.uart[0].onByte = (byte) => said.push(byte);
process.stdin.on('data', (bytes) => heard.push(...bytes));
process.stdin.on('end', () => process.exit(0));

const turn = () => {
  for (let cycles = 0; cycles < SLICE_CYCLES;) {
    if (heard.length && !chip.uart[0].rxFIFO.full) chip.uart[0].feedByte(heard.shift());
    const took = chip.core.executeInstruction();
    simulator.clock.tick((took * 1e9) / CLOCK_HZ);
    cycles += took;
  }
  if (said.length) {
    fs.writeSync(1, Buffer.from(said));
    said = [];
  }
  setImmediate(turn);
};
turn();
