/// A queue in an array: the front moves on, and the room it leaves is taken back now and then.
struct FIFO<Element> {
    private var elements: [Element?] = []
    private var front = 0

    var isEmpty: Bool { front == elements.count }
    var count: Int { elements.count - front }
    var first: Element? { isEmpty ? nil : elements[front] }

    mutating func append(_ element: Element) { elements.append(element) }

    mutating func popFirst() -> Element? {
        guard !isEmpty else { return nil }
        let element = elements[front]
        elements[front] = nil
        front += 1
        if front == elements.count {
            elements.removeAll(keepingCapacity: true)
            front = 0
        } else if front >= 256, front * 2 > elements.count {
            elements.removeFirst(front)
            front = 0
        }
        return element
    }
}
