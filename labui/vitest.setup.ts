// What @lumino/widgets asks of a browser and jsdom does not have.
class DragEventStub extends MouseEvent {}

Object.assign(globalThis, { DragEvent: DragEventStub });
