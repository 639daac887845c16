/** What the shop's API answers. */
export interface Product {
  id: string;
  name: string;
  description: string;
  price: number;
}

export interface Line extends Product {
  quantity: number;
}

export interface Cart {
  lines: Line[];
  total: number;
}

/** A client of the shop; `request` is fetch, or a test's stand-in for the network. */
export class Shop {
  constructor(private readonly request: typeof fetch) {}

  products = (): Promise<Product[]> => this.call("GET", "/api/products");
  cart = (): Promise<Cart> => this.call("GET", "/api/cart");
  version = async (): Promise<string> => (await this.call<{ version: string }>("GET", "/version")).version;
  add = (product: string): Promise<Cart> => this.call("POST", "/api/cart", { product, quantity: 1 });

  async empty(): Promise<Cart> {
    await this.call("DELETE", "/api/cart");
    return this.cart();
  }

  private async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await this.request(path, { method, body: body === undefined ? undefined : JSON.stringify(body) });
    const text = await response.text();
    const answer = text === "" ? undefined : JSON.parse(text);
    if (!response.ok) {
      throw new Error(answer?.error ?? `${method} ${path}: ${response.status}`);
    }
    return answer as T;
  }
}
